"""httpx, requests and urllib3 with their defaults.

Usage: python http_python_clients.py httpx|requests|urllib3 URL TOKEN; bodies on standard input, a line each.
Posts each in turn, and prints the answer: BODY, tab, STATUS, tab, LOCATION.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import httpx
import requests
import urllib3

Answer = tuple[str, int, Mapping[str, str]]


def poster(library: str, url: str, headers: dict[str, str]) -> Callable[[bytes], Answer]:
    """What posts a body."""
    if library == "httpx":
        client = httpx.Client()

        def with_httpx(body: bytes) -> Answer:
            answer = client.post(url, content=body, headers=headers)
            return answer.text, answer.status_code, answer.headers

        return with_httpx
    if library == "requests":
        session = requests.Session()

        def with_requests(body: bytes) -> Answer:
            answer = session.post(url, data=body, headers=headers)
            return answer.text, answer.status_code, answer.headers

        return with_requests
    pool = urllib3.PoolManager()

    def with_urllib3(body: bytes) -> Answer:
        answer = pool.request("POST", url, body=body, headers=headers)
        return answer.data.decode(), answer.status, answer.headers

    return with_urllib3


if __name__ == "__main__":
    library, url, token = sys.argv[1:]
    post = poster(library, url, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    for line in sys.stdin.buffer:
        body, status, headers = post(line.rstrip(b"\n"))
        print(body, status, headers.get("location", ""), sep="\t")
