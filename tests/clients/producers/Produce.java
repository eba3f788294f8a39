import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import tidegate.Producer;

/**
 * Usage: URL TOKEN BUFFER_BYTES, client events on standard input, one a line. Prints "sent" behind each that the buffer
 * took, and "refused", the event and the reason, apart by tabs.
 */
public class Produce {
    public static void main(String[] arguments) throws Exception {
        var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var options =
                new Producer.Options(500, 1 << 20, Duration.ofMillis(50), Long.parseLong(arguments[2]), null);
        try (var producer =
                new Producer(
                        arguments[0],
                        arguments[1],
                        Producer.Stream.CLIENT_EVENTS,
                        (event, reason) -> out.println("refused\t" + event + "\t" + reason),
                        options)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                producer.send(line);
                out.println("sent");
            }
        }
    }
}
