// franz-go with its defaults. Usage: franz produce|consume|transactions BOOTSTRAP TOPIC GROUP [VALUE ...]
//
// produce writes each value with the header fleet=demo; transactions commits the first half of them and aborts
// the second; consume reads as a group, from the beginning, and prints the values that were named until it has all.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	action, topic, group, values := os.Args[1], os.Args[3], os.Args[4], os.Args[5:]
	options := []kgo.Opt{kgo.SeedBrokers(os.Args[2])}
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	switch action {
	case "produce":
		client := open(options...)
		must(client.ProduceSync(ctx, records(topic, values)...).FirstErr())
		client.Close()
	case "transactions":
		client := open(append(options, kgo.TransactionalID(group))...)
		half := len(values) / 2
		for number, part := range [][]string{values[:half], values[half:]} {
			must(client.BeginTransaction())
			must(client.ProduceSync(ctx, records(topic, part)...).FirstErr())
			must(client.EndTransaction(ctx, kgo.TransactionEndTry(number == 0)))
		}
		client.Close()
	case "consume":
		client := open(append(options, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
		wanted := map[string]bool{}
		for _, value := range values {
			wanted[value] = true
		}
		for len(wanted) > 0 {
			fetches := client.PollFetches(ctx)
			must(fetches.Err())
			fetches.EachRecord(func(record *kgo.Record) {
				if value := strings.TrimSpace(string(record.Value)); wanted[value] {
					delete(wanted, value)
					fmt.Println(value)
				}
			})
		}
		must(client.CommitUncommittedOffsets(ctx))
		client.Close()
	}
}

func records(topic string, values []string) []*kgo.Record {
	var found []*kgo.Record
	for _, value := range values {
		found = append(found, &kgo.Record{Topic: topic, Value: []byte(value),
			Headers: []kgo.RecordHeader{{Key: "fleet", Value: []byte("demo")}}})
	}
	return found
}

func open(options ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(options...)
	must(err)
	return client
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
