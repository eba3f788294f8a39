package tidegate;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeoutException;
import java.util.function.BiConsumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Sends events to a Tidegate gateway: in batches, each until it is acknowledged, each stored once.
 *
 * <pre>{@code
 * try (var producer = new Producer("https://gateway.example", token, Producer.Stream.CLIENT_EVENTS, refused)) {
 *     producer.send("{\"macAddress\": \"68:05:71:a4:ef:0e\", \"eventType\": \"Success\", \"timestamp\": 1790000000}");
 * }
 * }</pre>
 *
 * <p>{@link #send} takes the JSON text of one event into a bounded buffer and waits where that is full; a thread posts
 * batches in order. A batch is sent again, byte for byte and under the same Idempotency-Key, on 408, 429 and 5xx, and
 * when the connection is lost: after what Retry-After asks for, and a growing, random wait. What the gateway refuses for
 * good is handed to {@code onRefused} with the gateway's reason, as JSON. {@link #close} waits until all is acknowledged.
 *
 * <p>The buffer is memory: events that were not acknowledged end with the process. Give events that must survive it an
 * {@code event_id} of your own and send them again. Needs a JDK 17, and nothing else.
 */
public final class Producer implements AutoCloseable {
    public enum Stream {
        CONNECTION_LOGS("/api/v1/device_app_connection_log/"),
        CLIENT_EVENTS("/api/v1/client_events/"),
        DEVICE_LOGS("/api/v1/inventory_device_log/");

        private final String path;

        Stream(String path) {
            this.path = path;
        }
    }

    /** How much is sent and held; {@code device} is sent as X-Device-Id, null for none. */
    public record Options(int batchEvents, int batchBytes, Duration linger, long bufferBytes, String device) {
        public static Options defaults() {
            return new Options(500, 1 << 20, Duration.ofMillis(50), 16L << 20, null);
        }
    }

    private static final long LEAST_WAIT = 100; // ms, doubled with each attempt
    private static final long MOST_WAIT = 30_000;
    private static final Duration TIMEOUT = Duration.ofSeconds(30); // the gateway itself waits 10 s for its broker
    // Quotes inside a JSON string are escaped, so this begins no text that a sender chose.
    private static final Pattern ERROR = Pattern.compile("\\{\"index\":(\\d+),\"status\":(\\d+),");

    private final HttpClient client =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(TIMEOUT).build();
    private final URI uri;
    private final String token;
    private final Options options;
    private final BiConsumer<String, String> onRefused;
    private final Deque<byte[]> waiting = new ArrayDeque<>();
    private final Thread thread;
    private long bytes;
    private long unacknowledged;
    private boolean closed;

    public Producer(String url, String token, Stream stream, BiConsumer<String, String> onRefused) {
        this(url, token, stream, onRefused, Options.defaults());
    }

    public Producer(
            String url, String token, Stream stream, BiConsumer<String, String> onRefused, Options options) {
        this.uri = URI.create(url.replaceAll("/+$", "") + stream.path);
        this.token = token;
        this.onRefused = onRefused;
        this.options = options;
        this.thread = new Thread(this::run, "tidegate-producer");
        this.thread.setDaemon(true);
        this.thread.start();
    }

    /** Puts an event, one JSON object, into the buffer; waits for room there. */
    public synchronized void send(String json) throws InterruptedException {
        byte[] line = json.replace('\n', ' ').replace('\r', ' ').getBytes(StandardCharsets.UTF_8);
        while (!closed && bytes > 0 && bytes + line.length > options.bufferBytes()) {
            wait();
        }
        if (closed) {
            throw new IllegalStateException("the producer is closed");
        }
        waiting.add(line);
        unacknowledged += 1;
        bytes += line.length;
        notifyAll();
    }

    /** Waits until all that was sent is acknowledged or refused. */
    public synchronized void flush() throws InterruptedException {
        while (unacknowledged > 0) {
            wait();
        }
    }

    /** {@link #flush}, and ends. */
    @Override
    public void close() throws InterruptedException {
        flush();
        end();
    }

    /** {@link #close}; what is left after the timeout is given up. */
    public void close(Duration timeout) throws InterruptedException, TimeoutException {
        long deadline = System.nanoTime() + timeout.toNanos();
        long left;
        synchronized (this) {
            while (unacknowledged > 0 && (left = deadline - System.nanoTime()) > 0) {
                wait(left / 1_000_000 + 1);
            }
            left = unacknowledged;
        }
        end();
        if (left > 0) {
            throw new TimeoutException(left + " events are not acknowledged");
        }
    }

    private void end() {
        synchronized (this) {
            closed = true;
            notifyAll();
        }
        thread.interrupt();
    }

    private void run() {
        try {
            List<byte[]> batch;
            while (!(batch = batch()).isEmpty()) {
                for (Map.Entry<Integer, String> refused : untilAnswered(batch).entrySet()) {
                    String event = new String(batch.get(refused.getKey()), StandardCharsets.UTF_8);
                    onRefused.accept(event, refused.getValue());
                }
                synchronized (this) {
                    unacknowledged -= batch.size();
                    for (byte[] line : batch) {
                        bytes -= line.length;
                    }
                    notifyAll();
                }
            }
        } catch (InterruptedException ended) {
            // by close
        }
    }

    /** The next batch; empty at the end. */
    private List<byte[]> batch() throws InterruptedException {
        synchronized (this) {
            while (waiting.isEmpty() && !closed) {
                wait();
            }
            if (closed) {
                return List.of();
            }
        }
        Thread.sleep(options.linger().toMillis());
        synchronized (this) {
            var batch = new ArrayList<byte[]>();
            int size = 0;
            while (!waiting.isEmpty() && batch.size() < options.batchEvents()) {
                size += waiting.peek().length;
                if (!batch.isEmpty() && size > options.batchBytes()) {
                    break;
                }
                batch.add(waiting.remove());
            }
            return batch;
        }
    }

    /** What is refused of a batch, by index, once the rest is in. */
    private Map<Integer, String> untilAnswered(List<byte[]> batch) throws InterruptedException {
        HttpRequest request = request(batch);
        long wait = LEAST_WAIT;
        while (true) {
            long asked = 0;
            try {
                HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
                int status = answer.statusCode();
                if (status < 500 && status != 408 && status != 429) {
                    Map<Integer, String> refused = refused(status, answer.body(), batch.size());
                    if (refused != null) {
                        return refused;
                    }
                }
                String seconds = answer.headers().firstValue("Retry-After").orElse("");
                asked = seconds.matches("\\d{1,6}") ? 1000 * Long.parseLong(seconds) : 0;
            } catch (IOException lost) {
                // whether the batch is in is not known
            }
            Thread.sleep(asked + ThreadLocalRandom.current().nextLong(wait));
            wait = Math.min(2 * wait, MOST_WAIT);
        }
    }

    private HttpRequest request(List<byte[]> batch) {
        var body = new java.io.ByteArrayOutputStream();
        for (byte[] line : batch) {
            body.writeBytes(line);
            body.write('\n');
        }
        var request = HttpRequest.newBuilder(uri)
                .timeout(TIMEOUT)
                .header("Authorization", "Bearer " + token)
                .header("Content-Type", "application/x-ndjson")
                .header("Idempotency-Key", UUID.randomUUID().toString())
                .POST(HttpRequest.BodyPublishers.ofByteArray(body.toByteArray()));
        if (options.device() != null) {
            request.header("X-Device-Id", options.device());
        }
        return request.build();
    }

    /** The gateway's reasons by index; null where a part of the batch may not be in: the same again brings it. */
    private static Map<Integer, String> refused(int status, String body, int count) {
        var found = new TreeMap<Integer, String>();
        if (status == 200 || status == 201) {
            return found;
        }
        Matcher errors = ERROR.matcher(body);
        while (errors.find()) {
            if (Integer.parseInt(errors.group(2)) >= 500) {
                return null;
            }
            found.put(Integer.valueOf(errors.group(1)), body.substring(errors.start(), end(body, errors.start())));
        }
        if (found.isEmpty() && status != 207) {
            for (int index = 0; index < count; index++) {
                found.put(index, body);
            }
        }
        return found;
    }

    /** Behind the JSON object that begins at {@code start}: the errors hold strings and numbers alone. */
    private static int end(String body, int start) {
        boolean inside = false;
        for (int at = start; at < body.length(); at++) {
            char one = body.charAt(at);
            if (inside && one == '\\') {
                at++;
            } else if (one == '"') {
                inside = !inside;
            } else if (!inside && one == '}') {
                return at + 1;
            }
        }
        return body.length();
    }
}
