/**
 * Sends events to a Tidegate gateway: in batches, each until it is acknowledged, each stored once.
 *
 *     const producer = new Producer("https://gateway.example", token, "client_events");
 *     await producer.send({ macAddress: "68:05:71:a4:ef:0e", eventType: "Success", timestamp: 1790000000 });
 *     await producer.close();
 *
 * `send` puts an event into a bounded buffer; its promise waits where that is full, so await it. Batches go out in
 * order. One is sent again, byte for byte and under the same Idempotency-Key, on 408, 429 and 5xx, and when the
 * connection is lost: after what Retry-After asks for, and a growing, random wait. What the gateway refuses for good
 * is handed to `onRefused`, or thrown by `flush` and `close`.
 *
 * The buffer is memory: events that were not acknowledged end with the process. Give events that must survive it an
 * `event_id` of your own and send them again. Needs `fetch`: Node 18, Deno, a browser.
 */

export type Stream = "connection_logs" | "client_events" | "device_logs";

/** Why the gateway refuses an event: its code, the field at fault, and what was found there. */
export interface Reason {
  status: number;
  code: string;
  path?: string;
  found?: string;
  allowed?: string;
  detail: string;
}

export interface Options {
  /** Sent as X-Device-Id, which the network form of a connection log needs. */
  device?: string;
  batchEvents?: number;
  batchBytes?: number;
  lingerMilliseconds?: number;
  /** Bounds the JSON of all events that are not acknowledged yet. */
  bufferBytes?: number;
  onRefused?: (event: string, reason: Reason) => void;
}

const PATHS: Record<Stream, string> = {
  connection_logs: "/api/v1/device_app_connection_log/",
  client_events: "/api/v1/client_events/",
  device_logs: "/api/v1/inventory_device_log/",
};
const LEAST_WAIT = 100; // ms, doubled with each attempt
const MOST_WAIT = 30_000;
const TIMEOUT = 30_000; // for one answer: the gateway itself waits 10 s for its broker

/** What the gateway will never take. */
export class Refused extends Error {
  constructor(readonly refusals: { event: string; reason: Reason }[]) {
    super(`${refusals.length} events are refused; the first: ${JSON.stringify(refusals[0]?.reason)}`);
  }
}

interface Line {
  text: string;
  bytes: number;
}

export class Producer {
  private readonly url: string;
  private readonly headers: Record<string, string>;
  private readonly options: Required<Omit<Options, "device" | "onRefused">>;
  private readonly onRefused: ((event: string, reason: Reason) => void) | undefined;
  private readonly givingUp = new AbortController();
  private readonly encoder = new TextEncoder();
  private waiting: Line[] = [];
  private bytes = 0;
  private unacknowledged = 0;
  private refusals: { event: string; reason: Reason }[] = [];
  private wanting: (() => void)[] = []; // room in the buffer, or its end
  private running = false;
  private closed = false;

  constructor(url: string, token: string, stream: Stream, options: Options = {}) {
    this.url = url.replace(/\/+$/, "") + PATHS[stream];
    this.headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/x-ndjson" };
    if (options.device !== undefined) this.headers["X-Device-Id"] = options.device;
    this.onRefused = options.onRefused;
    this.options = {
      batchEvents: options.batchEvents ?? 500,
      batchBytes: options.batchBytes ?? 1 << 20,
      lingerMilliseconds: options.lingerMilliseconds ?? 50,
      bufferBytes: options.bufferBytes ?? 16 << 20,
    };
  }

  /** Put an event into the buffer, when there is room for it. */
  async send(event: object): Promise<void> {
    const text = JSON.stringify(event);
    const bytes = this.encoder.encode(text).length;
    while (!this.closed && this.bytes > 0 && this.bytes + bytes > this.options.bufferBytes) await this.change();
    if (this.closed) throw new Error("the producer is closed");
    this.waiting.push({ text, bytes });
    this.unacknowledged += 1;
    this.bytes += bytes;
    if (!this.running) {
      this.running = true;
      void this.run();
    }
  }

  /** Wait until all that was sent is acknowledged. Throws Refused. */
  async flush(): Promise<void> {
    while (this.unacknowledged > 0) await this.change();
    if (this.refusals.length > 0) throw new Refused(this.refusals.splice(0));
  }

  /** `flush`, and end. After `milliseconds` what is left is given up, and an Error says how much. */
  async close(milliseconds?: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      if (milliseconds === undefined) return;
      timer = setTimeout(() => reject(new Error(`${this.unacknowledged} events are not acknowledged`)), milliseconds);
    });
    try {
      await Promise.race([this.flush(), late]);
    } finally {
      clearTimeout(timer);
      this.closed = true;
      this.givingUp.abort();
      this.changed();
    }
  }

  private change(): Promise<void> {
    return new Promise((resolve) => this.wanting.push(resolve));
  }

  private changed(): void {
    for (const resolve of this.wanting.splice(0)) resolve();
  }

  private async run(): Promise<void> {
    while (this.waiting.length > 0 && !this.closed) {
      if (this.waiting.length < this.options.batchEvents) await this.pause(this.options.lingerMilliseconds);
      const batch = this.batch();
      const refused = await this.untilAnswered(batch);
      if (refused === undefined) break;
      for (const [index, reason] of [...refused].sort((one, other) => one[0] - other[0])) {
        const event = batch[index]?.text ?? "";
        if (this.onRefused !== undefined) this.onRefused(event, reason);
        else this.refusals.push({ event, reason });
      }
      this.unacknowledged -= batch.length;
      for (const line of batch) this.bytes -= line.bytes;
      this.changed();
    }
    this.running = false;
  }

  private batch(): Line[] {
    let bytes = 0;
    let count = 0;
    for (const line of this.waiting) {
      bytes += line.bytes;
      if (count === this.options.batchEvents || (count > 0 && bytes > this.options.batchBytes)) break;
      count += 1;
    }
    return this.waiting.splice(0, count);
  }

  /** What is refused of a batch, by index, once the rest is in; undefined when it was given up. */
  private async untilAnswered(batch: Line[]): Promise<Map<number, Reason> | undefined> {
    const body = batch.map((line) => line.text).join("\n");
    const headers = { ...this.headers, "Idempotency-Key": crypto.randomUUID() };
    let wait = LEAST_WAIT;
    while (!this.closed) {
      let asked = 0;
      const abort = new AbortController();
      const timer = setTimeout(() => abort.abort(), TIMEOUT); // AbortSignal.timeout would not keep Node running
      try {
        const answer = await fetch(this.url, { method: "POST", body, headers, signal: abort.signal });
        const text = await answer.text();
        if (answer.status < 500 && answer.status !== 408 && answer.status !== 429) {
          const refused = reasons(answer.status, text, batch.length);
          // A part of a batch may not be in: the same again brings the rest.
          if ([...refused.values()].every((reason) => reason.status < 500)) return refused;
        }
        const seconds = answer.headers.get("Retry-After");
        if (seconds !== null && /^\d+$/.test(seconds)) asked = 1000 * Number(seconds);
      } catch {
        // the connection is lost: whether the batch is in is not known
      } finally {
        clearTimeout(timer);
      }
      await this.pause(asked + Math.random() * wait);
      wait = Math.min(2 * wait, MOST_WAIT);
    }
    return undefined;
  }

  private pause(milliseconds: number): Promise<void> {
    const { signal } = this.givingUp;
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const timer = setTimeout(done, milliseconds);
      function done(): void {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      }
      signal.addEventListener("abort", done);
    });
  }
}

/** The reasons of an answer by index: of each event where the whole batch is refused. */
function reasons(status: number, text: string, count: number): Map<number, Reason> {
  const found = new Map<number, Reason>();
  if (status === 200 || status === 201) return found;
  let document: { errors?: (Reason & { index: number })[]; code?: string; detail?: string } = {};
  try {
    document = JSON.parse(text) ?? {};
  } catch {
    // not what a gateway answers
  }
  if (Array.isArray(document.errors) && document.errors.length > 0) {
    for (const { index, ...reason } of document.errors) found.set(index, reason);
  } else if (status !== 207) {
    const reason = { status, code: document.code ?? "", detail: document.detail ?? "" };
    for (let index = 0; index < count; index += 1) found.set(index, reason);
  }
  return found;
}
