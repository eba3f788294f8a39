// clickhouse-go over HTTP with its defaults: reads what a table has, writes a batch where it may, says what it saw.
//
// Usage: clickhouse_go DSN TABLE [COMPRESSION]
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

func main() {
	options, err := clickhouse.ParseDSN(os.Args[1])
	check(err)
	if len(os.Args) > 3 {
		methods := map[string]clickhouse.CompressionMethod{
			"lz4": clickhouse.CompressionLZ4, "zstd": clickhouse.CompressionZSTD, "gzip": clickhouse.CompressionGZIP,
		}
		options.Compression = &clickhouse.Compression{Method: methods[os.Args[3]]}
	}
	connection, err := clickhouse.Open(options)
	check(err)
	ctx := context.Background()
	check(connection.Ping(ctx))

	table := os.Args[2]
	batch, err := connection.PrepareBatch(ctx, "INSERT INTO "+table)
	check(err)
	at := time.Date(2026, 1, 2, 3, 4, 5, 678000000, time.UTC)
	for number := uint64(0); number < 3; number++ {
		note := fmt.Sprintf("note %d", number)
		optional := &note
		if number == 1 {
			optional = nil
		}
		check(batch.Append(number, "name", optional, at, []string{"a", note}, "low"))
	}
	check(batch.Send())

	rows, err := connection.Query(ctx, "SELECT id, name, note, at, tags, kind FROM "+table+" ORDER BY id")
	check(err)
	for rows.Next() {
		var id uint64
		var name, kind string
		var note *string
		var at time.Time
		var tags []string
		check(rows.Scan(&id, &name, &note, &at, &tags, &kind))
		text := "null"
		if note != nil {
			text = *note
		}
		fmt.Println(id, name, text, at.UTC().Format(time.RFC3339Nano), tags, kind)
	}
	check(rows.Err())

	var count, sum uint64
	large := "SELECT count(), sum(number) FROM (SELECT number, toString(number) FROM numbers(200000))"
	check(connection.QueryRow(ctx, large).Scan(&count, &sum))
	fmt.Println(count, sum)
	many, err := connection.Query(ctx, "SELECT number, toString(number) FROM numbers(200000)")
	check(err)
	var seen, total uint64
	for many.Next() {
		var number uint64
		var text string
		check(many.Scan(&number, &text))
		seen, total = seen+1, total+number
	}
	check(many.Err())
	fmt.Println(seen, total)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
