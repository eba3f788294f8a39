// net/http with its defaults. Usage: http URL TOKEN, the bodies on standard input, one a line.
//
// Posts each in turn, and prints the answer: BODY <tab> STATUS <tab> LOCATION.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	lines := bufio.NewReader(os.Stdin)
	for {
		body, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return
		}
		check(err)
		request, err := http.NewRequest("POST", os.Args[1], bytes.NewReader(bytes.TrimSpace(body)))
		check(err)
		request.Header.Set("Authorization", "Bearer "+os.Args[2])
		request.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(request)
		check(err)
		text, err := io.ReadAll(answer.Body)
		check(err)
		check(answer.Body.Close())
		fmt.Printf("%s\t%d\t%s\n", text, answer.StatusCode, answer.Header.Get("Location"))
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
