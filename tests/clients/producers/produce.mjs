// Usage: URL TOKEN BUFFER_BYTES, client events on standard input, one a line. As Produce.java.
import { createInterface } from "node:readline";

import { Producer } from "./dist/producer.js";

const [url, token, bufferBytes] = process.argv.slice(2);
const producer = new Producer(url, token, "client_events", {
  bufferBytes: Number(bufferBytes),
  onRefused: (event, reason) => console.log(`refused\t${event}\t${JSON.stringify(reason)}`),
});
for await (const line of createInterface({ input: process.stdin })) {
  await producer.send(JSON.parse(line));
  console.log("sent");
}
await producer.close();
