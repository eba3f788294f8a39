import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * What a Java engineer would write by hand: one event a record, Jackson's streaming parser, a few checks, RowBinary
 * into plain tables over HTTP, 65,536 rows an insert, offsets committed behind it. At least once; no rollups, no
 * rejects, no enrichment but a geohash.
 *
 * <p>Arguments: bootstrap url first-file threads table…; a table is {@code topic|db.table|column:jsonName:type,…}.
 * {@code first-file} gets the epoch second of the first record.
 */
public class JavaConsumer {
  static final int INSERT_ROWS = 65_536;
  static final long INSERT_NANOS = 1_000_000_000L;
  static final Set<String> NETWORK_TYPES = Set.of("wi", "mo", "bl", "et");
  static final Set<String> SECURITIES = Set.of("opn", "wep", "wpa", "wp2", "3gp");
  static final Set<String> EVENT_TYPES = Set.of("Success", "Failure", "Intermediate");
  static final byte[] BASE32 = "0123456789bcdefghjkmnpqrstuvwxyz".getBytes(StandardCharsets.US_ASCII);
  static final JsonFactory JSON = new JsonFactory();

  /** Types of columns, by their number in the arguments. */
  enum Type { STRING, NULLABLE_STRING, NULLABLE_INT64, INT64, NULLABLE_FLOAT64, NULLABLE_BOOL, LOCATION, GEOHASH }

  record Column(String name, Type type) {}

  static class Table {
    final String topic;
    final Column[] columns;
    final Map<String, Integer> byJsonName = new HashMap<>();
    final URI insert;
    final String[] credentials;

    Table(URI url, String argument) {
      String[] parts = argument.split("\\|");
      String[] described = parts[2].split(",");
      topic = parts[0];
      columns = new Column[described.length];
      List<String> names = new ArrayList<>();
      for (int i = 0; i < described.length; i++) {
        String[] part = described[i].split(":");
        columns[i] = new Column(part[0], Type.values()[Integer.parseInt(part[2])]);
        if (columns[i].type != Type.GEOHASH) byJsonName.put(part[1], i);
        names.add("`" + part[0] + "`");
      }
      String query = "INSERT INTO " + parts[1] + " (" + String.join(",", names) + ") FORMAT RowBinary";
      String server = url.getScheme() + "://" + url.getHost() + ":" + url.getPort();
      insert = URI.create(server + "/?query=" + URLEncoder.encode(query, StandardCharsets.UTF_8));
      credentials = credentials(url);
    }
  }

  /** The values of one event, by column. */
  static class Row {
    final String[] texts;
    final long[] integers;
    final double[] reals;
    final boolean[] there;
    String locationType;
    long locationId;
    boolean hasLocationType, hasLocationId;

    Row(int columns) {
      texts = new String[columns];
      integers = new long[columns];
      reals = new double[columns];
      there = new boolean[columns];
    }

    void read(byte[] value, Table table) throws IOException {
      Arrays.fill(there, false);
      hasLocationType = hasLocationId = false;
      try (JsonParser parser = JSON.createParser(value)) {
        if (parser.nextToken() != JsonToken.START_OBJECT) throw new IOException("not an object");
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
          String name = parser.currentName();
          JsonToken token = parser.nextToken();
          Integer at = table.byJsonName.get(name);
          if (at == null) parser.skipChildren();
          else if (token != JsonToken.VALUE_NULL) set(at, table.columns[at].type, parser, token, name);
        }
      }
    }

    private void set(int at, Type type, JsonParser parser, JsonToken token, String name) throws IOException {
      switch (type) {
        case STRING, NULLABLE_STRING -> {
          if (token != JsonToken.VALUE_STRING) throw new IOException(name);
          texts[at] = parser.getText();
        }
        case INT64, NULLABLE_INT64 -> {
          if (token != JsonToken.VALUE_NUMBER_INT) throw new IOException(name);
          integers[at] = parser.getLongValue();
        }
        case NULLABLE_FLOAT64 ->
            reals[at] = token == JsonToken.VALUE_STRING ? Double.parseDouble(parser.getText()) : parser.getDoubleValue();
        case NULLABLE_BOOL -> integers[at] = token == JsonToken.VALUE_TRUE ? 1 : 0;
        case LOCATION -> readLocation(parser, token, name);
        default -> throw new IOException(name);
      }
      there[at] = true;
    }

    private void readLocation(JsonParser parser, JsonToken token, String name) throws IOException {
      if (token != JsonToken.START_OBJECT) throw new IOException(name);
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String key = parser.currentName();
        parser.nextToken();
        if (key.equals("type")) {
          locationType = parser.getText();
          hasLocationType = true;
        } else if (key.equals("id")) {
          locationId = parser.getLongValue();
          hasLocationId = true;
        } else {
          parser.skipChildren();
        }
      }
    }

    void check(Table table) throws IOException {
      if (table.topic.endsWith("client_events")) {
        if (!isMac(table, "macAddress", true) || !isOneOf(table, "eventType", EVENT_TYPES)) throw new IOException("bad");
      } else if (!isOneOf(table, "network_type", NETWORK_TYPES) || !isOneOf(table, "network_security", SECURITIES)) {
        throw new IOException("bad");
      }
      if (!isMac(table, "bssid", false)) throw new IOException("bad");
    }

    private boolean isOneOf(Table table, String name, Set<String> allowed) {
      int at = table.byJsonName.get(name);
      return there[at] && allowed.contains(texts[at]);
    }

    private boolean isMac(Table table, String name, boolean required) {
      int at = table.byJsonName.get(name);
      if (!there[at]) return !required;
      String text = texts[at];
      if (text.length() != 17) return false;
      for (int i = 0; i < 17; i++) {
        char c = text.charAt(i);
        if (i % 3 == 2 ? c != ':' : Character.digit(c, 16) < 0) return false;
      }
      return true;
    }

    void write(Table table, RowBinary out) {
      for (int i = 0; i < table.columns.length; i++) {
        out.reserve(64);
        boolean has = there[i];
        switch (table.columns[i].type) {
          case STRING -> out.text(has ? texts[i] : "");
          case INT64 -> out.int64(has ? integers[i] : 0);
          case NULLABLE_STRING -> { if (out.nullable(has)) out.text(texts[i]); }
          case NULLABLE_INT64 -> { if (out.nullable(has)) out.int64(integers[i]); }
          case NULLABLE_FLOAT64 -> { if (out.nullable(has)) out.int64(Double.doubleToRawLongBits(reals[i])); }
          case NULLABLE_BOOL -> { if (out.nullable(has)) out.int8((int) integers[i]); }
          case LOCATION -> {
            if (out.nullable(hasLocationType)) out.text(locationType);
            if (out.nullable(hasLocationId)) out.int64(locationId);
          }
          case GEOHASH -> {
            int latitude = table.byJsonName.get("latitude"), longitude = table.byJsonName.get("longitude");
            boolean known = there[latitude] && there[longitude];
            out.text(known ? geohash(reals[latitude], reals[longitude]) : "");
          }
        }
      }
    }
  }

  /** A growing buffer of rows in ClickHouse's RowBinary. */
  static class RowBinary {
    byte[] bytes = new byte[8 << 20];
    int size = 0;

    void reserve(int more) {
      if (size + more > bytes.length) bytes = Arrays.copyOf(bytes, bytes.length * 2 + more);
    }

    void int8(int value) {
      bytes[size++] = (byte) value;
    }

    void int64(long value) {
      for (int i = 0; i < 8; i++, value >>= 8) bytes[size++] = (byte) value;
    }

    boolean nullable(boolean there) {
      int8(there ? 0 : 1);
      return there;
    }

    void text(String text) {
      byte[] encoded = text.getBytes(StandardCharsets.UTF_8);
      reserve(encoded.length + 80);
      int length = encoded.length;
      for (; length >= 128; length >>>= 7) int8(length | 128);
      int8(length);
      System.arraycopy(encoded, 0, bytes, size, encoded.length);
      size += encoded.length;
    }
  }

  /** Six characters. */
  static String geohash(double latitude, double longitude) {
    long x = (long) Math.min(32767, Math.max(0, (longitude + 180) * (32768 / 360.0)));
    long y = (long) Math.min(32767, Math.max(0, (latitude + 90) * (32768 / 180.0)));
    long bits = 0;
    for (int i = 14; i >= 0; i--) bits = bits << 2 | (x >> i & 1) << 1 | y >> i & 1;
    byte[] text = new byte[6];
    for (int i = 5; i >= 0; i--, bits >>= 5) text[i] = BASE32[(int) (bits & 31)];
    return new String(text, StandardCharsets.US_ASCII);
  }

  static void consume(String bootstrap, String group, List<Table> tables, Runnable atFirst) throws Exception {
    Properties properties = new Properties();
    properties.putAll(Map.of(
        "bootstrap.servers", bootstrap, "group.id", group, "auto.offset.reset", "earliest",
        "enable.auto.commit", "false", "max.poll.records", "20000", "fetch.max.bytes", "33554432",
        "max.partition.fetch.bytes", "8388608", "session.timeout.ms", "6000", "check.crcs", "false"));
    properties.put("heartbeat.interval.ms", "1000");
    var consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    Map<String, Integer> byTopic = new HashMap<>();
    for (Table table : tables) byTopic.put(table.topic, byTopic.size());
    consumer.subscribe(byTopic.keySet());
    HttpClient http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    int count = tables.size();
    RowBinary[] buffers = new RowBinary[count];
    Row[] rows = new Row[count];
    int[] buffered = new int[count];
    long[] since = new long[count];
    for (int i = 0; i < count; i++) {
      buffers[i] = new RowBinary();
      rows[i] = new Row(tables.get(i).columns.length);
    }
    while (true) {
      for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
        atFirst.run();
        int i = byTopic.get(record.topic());
        Table table = tables.get(i);
        rows[i].read(record.value(), table);
        rows[i].check(table);
        if (buffered[i]++ == 0) since[i] = System.nanoTime();
        rows[i].write(table, buffers[i]);
      }
      for (int i = 0; i < count; i++) {
        boolean late = buffered[i] > 0 && System.nanoTime() - since[i] > INSERT_NANOS;
        if (buffered[i] < INSERT_ROWS && !late) continue;
        var body = HttpRequest.BodyPublishers.ofByteArray(buffers[i].bytes, 0, buffers[i].size);
        var answer = http.send(
            HttpRequest.newBuilder(tables.get(i).insert).headers(tables.get(i).credentials).POST(body).build(),
            HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) throw new IOException(answer.body());
        consumer.commitAsync();
        buffers[i].size = buffered[i] = 0;
      }
    }
  }

  /** The headers that say who asks: user and password as the URL has them. */
  static String[] credentials(URI url) {
    String[] login = url.getUserInfo() == null ? new String[] {"default"} : url.getUserInfo().split(":", 2);
    return new String[] {"X-ClickHouse-User", login[0], "X-ClickHouse-Key", login.length > 1 ? login[1] : ""};
  }

  public static void main(String[] arguments) throws Exception {
    URI clickhouse = URI.create(arguments[1]);
    List<Table> tables = new ArrayList<>();
    for (int i = 4; i < arguments.length; i++) tables.add(new Table(clickhouse, arguments[i]));
    AtomicBoolean said = new AtomicBoolean();
    Runnable atFirst = () -> {
      if (said.get() || !said.compareAndSet(false, true)) return;
      try {
        String now = String.format(Locale.ROOT, "%.6f", System.currentTimeMillis() / 1000.0);
        Files.writeString(Path.of(arguments[2]), now);
      } catch (IOException error) {
        throw new RuntimeException(error);
      }
    };
    String group = "peer-java-" + System.nanoTime();
    for (int i = 0; i < Integer.parseInt(arguments[3]); i++) {
      new Thread(() -> {
        try {
          consume(arguments[0], group, tables, atFirst);
        } catch (Throwable error) {
          error.printStackTrace();
          Runtime.getRuntime().halt(1);
        }
      }).start();
    }
  }
}
