import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;

/**
 * The JDK's HttpClient with its defaults: it asks for HTTP/2 with {@code Upgrade: h2c}. Usage: URL TOKEN, the bodies on
 * standard input, one a line.
 *
 * <p>Posts each in turn, and prints the answer: BODY, tab, STATUS, tab, LOCATION.
 */
public class HttpPosts {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String body = lines.readLine(); body != null; body = lines.readLine()) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                    .header("Authorization", "Bearer " + arguments[1])
                    .header("Content-Type", "application/json")
                    .POST(HttpRequest.BodyPublishers.ofString(body))
                    .build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            String location = answer.headers().firstValue("Location").orElse("");
            System.out.println(answer.body() + "\t" + answer.statusCode() + "\t" + location);
        }
    }
}
