// ClickHouse's JDBC driver with its defaults, as DBeaver and its like use it: connects, looks at the catalogue,
// writes a batch where it may, reads. Usage: java -cp JARS Main.java URL TABLE|- (URL with user and password)
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.Statement;

public class Main {
    public static void main(String[] arguments) throws Exception {
        String table = arguments[1];
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            DatabaseMetaData about = connection.getMetaData();
            System.out.println(about.getDatabaseProductName() + " " + connection.isValid(5));
            try (ResultSet schemas = about.getSchemas()) {
                boolean found = false;
                while (schemas.next()) found |= "system".equals(schemas.getString("TABLE_SCHEM"));
                System.out.println("system " + found);
            }
            if (!table.equals("-")) {
                try (PreparedStatement insert =
                        connection.prepareStatement("INSERT INTO " + table + " (id, name, note) VALUES (?, ?, ?)")) {
                    for (int id = 0; id < 3; id++) {
                        insert.setLong(1, id);
                        insert.setString(2, "it's \\ " + id);
                        insert.setString(3, id == 1 ? null : "note " + id);
                        insert.addBatch();
                    }
                    insert.executeBatch();
                }
                try (Statement statement = connection.createStatement();
                        ResultSet rows = statement.executeQuery("SELECT id, name, note FROM " + table + " ORDER BY id")) {
                    while (rows.next())
                        System.out.println(rows.getLong(1) + " " + rows.getString(2) + " " + rows.getString(3));
                }
                String name = table.substring(table.indexOf('.') + 1);
                try (ResultSet columns = about.getColumns(null, null, name, null)) {
                    while (columns.next()) System.out.print(columns.getString("COLUMN_NAME") + " ");
                    System.out.println();
                }
            }
            try (Statement statement = connection.createStatement();
                    ResultSet rows = statement.executeQuery("SELECT number, toString(number) FROM numbers(200000)")) {
                long count = 0;
                long sum = 0;
                while (rows.next()) {
                    count++;
                    sum += rows.getLong(1);
                }
                System.out.println(count + " " + sum);
            }
        }
    }
}
