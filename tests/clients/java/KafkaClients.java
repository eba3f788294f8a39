import java.time.Duration;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * kafka-clients with its defaults. Usage: produce|transactions|consume BOOTSTRAP TOPIC GROUP [VALUE ...]
 *
 * <p>produce writes each value with the header fleet=demo; transactions commits the first half of them and aborts the
 * second; consume reads as a group, from the beginning, and prints the values that were named until it has all.
 */
public class KafkaClients {
    public static void main(String[] arguments) throws Exception {
        String topic = arguments[2];
        String group = arguments[3];
        List<String> values = Arrays.asList(arguments).subList(4, arguments.length);
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments[1]);
        switch (arguments[0]) {
            case "consume" -> consume(properties, topic, group, values);
            case "transactions" -> {
                properties.put("transactional.id", group);
                try (var producer = producer(properties)) {
                    producer.initTransactions();
                    int half = values.size() / 2;
                    producer.beginTransaction();
                    send(producer, topic, values.subList(0, half));
                    producer.commitTransaction();
                    producer.beginTransaction();
                    send(producer, topic, values.subList(half, values.size()));
                    producer.abortTransaction();
                }
            }
            default -> {
                try (var producer = producer(properties)) {
                    send(producer, topic, values);
                }
            }
        }
    }

    private static KafkaProducer<String, String> producer(Properties properties) {
        return new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer());
    }

    private static void send(KafkaProducer<String, String> producer, String topic, List<String> values) throws Exception {
        for (String value : values) {
            var record = new ProducerRecord<String, String>(topic, value);
            record.headers().add("fleet", "demo".getBytes());
            producer.send(record).get();
        }
    }

    private static void consume(Properties properties, String topic, String group, List<String> values) {
        properties.put("group.id", group);
        properties.put("auto.offset.reset", "earliest");
        Set<String> wanted = new HashSet<>(values);
        try (var consumer = new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(topic));
            while (!wanted.isEmpty()) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    String value = record.value().trim();
                    if (wanted.remove(value)) {
                        System.out.println(value);
                    }
                }
            }
        }
    }
}
