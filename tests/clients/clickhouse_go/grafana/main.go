// What Grafana's ClickHouse data source asks for over HTTP, by the driver that it has and with the options that its
// backend gives it by default: gzip, database/sql with its pool, names in the User-Agent, the headers of whoever looks,
// a row limit. Health check, editor and its help on functions, a panel of a time series, an error that it takes for
// the query's and not for its own.
//
// Usage: grafana HOST:PORT USER PASSWORD DATABASE TABLE TIME
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

func main() {
	address, user, password, name, table, moment := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6]
	options := &clickhouse.Options{
		Addr:        []string{address},
		Auth:        clickhouse.Auth{Database: name, Username: user, Password: password},
		Compression: &clickhouse.Compression{Method: clickhouse.CompressionGZIP},
		HttpHeaders: map[string]string{"X-Grafana-User": "admin", "X-Grafana-Org-Id": "1"},
		Settings:    clickhouse.Settings{"limit": 1000},
		DialTimeout: 10 * time.Second,
		ReadTimeout: 60 * time.Second,
		Protocol:    clickhouse.HTTP,
	}
	options.ClientInfo.Products = append(options.ClientInfo.Products, struct{ Name, Version string }{"grafana", "12.3.0"},
		struct{ Name, Version string }{"clickhouse-datasource", "4.14.0"})
	database := clickhouse.OpenDB(options)
	database.SetConnMaxLifetime(5 * time.Minute)
	database.SetMaxIdleConns(25)
	database.SetMaxOpenConns(50)
	ctx := clickhouse.Context(context.Background(), clickhouse.WithClientInfo(
		clickhouse.ClientInfo{Comment: []string{"grafana_user:admin", "grafana_dashboard:tidegate", "grafana_panel:3"}}))
	check(database.PingContext(ctx))

	fmt.Println("version", text(database, ctx, "SELECT version()") != "")
	fmt.Println("readonly", text(database, ctx, "SELECT value FROM system.settings WHERE name='readonly'"))
	fmt.Println("database", text(database, ctx, "SELECT currentDatabase()"))
	fmt.Println("databases", count(database, ctx, "SELECT name FROM system.databases") > 0)
	tables := "SELECT name FROM system.tables WHERE database = '" + name + "' ORDER BY name"
	fmt.Println("tables", count(database, ctx, tables) > 0)
	columns := "SELECT database, table, name, type, comment FROM system.columns" +
		" WHERE (database, table) IN (('" + name + "', '" + table + "')) ORDER BY database, table, position"
	described := "DESCRIBE TABLE \"" + name + "\".\"" + table + "\""
	fmt.Println("columns", count(database, ctx, columns) == count(database, ctx, described))

	functions := "SELECT name, is_aggregate, case_insensitive, alias_to, origin, description, syntax, arguments," +
		" returned_value, examples, categories FROM system.functions LIMIT 10000"
	fmt.Println("functions", count(database, ctx, functions) == 1000) // its row limit
	distinct := "SELECT DISTINCT \"name\" FROM \"" + name + "\".\"" + table + "\" WHERE \"name\" IS NOT NULL LIMIT 1000"
	fmt.Println("values", count(database, ctx, distinct))
	var refused *clickhouse.Exception
	_, err := database.QueryContext(ctx, "SELECT no_such_column FROM "+name+"."+table)
	fmt.Println("error", errors.As(err, &refused) || err != nil && strings.Contains(err.Error(), "DB::Exception"))

	located, err := time.LoadLocation("Europe/Berlin")
	check(err)
	ctx = clickhouse.Context(ctx, clickhouse.WithUserLocation(located))
	series := "SELECT toStartOfInterval(toDateTime(" + moment + "), INTERVAL 60 second) AS time, count() AS events FROM " +
		name + "." + table + " WHERE " + moment + " >= toDateTime(0) AND " + moment + " <= toDateTime(4102444800)" +
		" GROUP BY time ORDER BY time LIMIT 1000"
	fmt.Println("series", count(database, ctx, series))
	fmt.Println("table", count(database, ctx, "SELECT * FROM "+name+"."+table+" LIMIT 10 SETTINGS max_execution_time=10"))
}

func text(database *sql.DB, ctx context.Context, query string) string {
	var found string
	check(database.QueryRowContext(ctx, query).Scan(&found))
	return found
}

// The number of rows, all of whose values were read.
func count(database *sql.DB, ctx context.Context, query string) int {
	rows, err := database.QueryContext(ctx, query)
	check(err)
	defer rows.Close()
	names, err := rows.Columns()
	check(err)
	number := 0
	for rows.Next() {
		values := make([]any, len(names))
		for at := range values {
			values[at] = new(any)
		}
		check(rows.Scan(values...))
		number++
	}
	check(rows.Err())
	return number
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
