// kafkajs with its defaults. Usage: node kafka.js produce|idempotent|transactions|consume BOOTSTRAP TOPIC GROUP [VALUE ...]
//
// produce writes each value with the header fleet=demo, idempotent as an idempotent producer; transactions commits the
// first half of them and aborts the second; consume reads as a group, from the beginning, and prints the values that
// were named until it has all.
const { Kafka, logLevel } = require("kafkajs");

const [action, broker, topic, group, ...values] = process.argv.slice(2);
const messages = (some) => some.map((value) => ({ value, headers: { fleet: "demo" } }));

async function main() {
  const kafka = new Kafka({ brokers: [broker], logLevel: logLevel.ERROR });
  if (action === "consume") {
    const consumer = kafka.consumer({ groupId: group });
    await consumer.connect();
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    const wanted = new Set(values);
    await new Promise((resolve) =>
      consumer.run({
        eachMessage: async ({ message }) => {
          const value = message.value.toString().trim();
          if (wanted.delete(value)) console.log(value);
          if (!wanted.size) resolve();
        },
      }),
    );
    await consumer.disconnect();
    return;
  }
  const options = {
    produce: {},
    idempotent: { idempotent: true },
    transactions: { idempotent: true, maxInFlightRequests: 1, transactionalId: group },
  };
  const producer = kafka.producer(options[action]);
  await producer.connect();
  if (action === "transactions") {
    const half = values.length / 2;
    const first = await producer.transaction();
    await first.send({ topic, messages: messages(values.slice(0, half)) });
    await first.commit();
    const second = await producer.transaction();
    await second.send({ topic, messages: messages(values.slice(half)) });
    await second.abort();
  } else {
    await producer.send({ topic, messages: messages(values) });
  }
  await producer.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
