// sarama with its defaults. Usage: sarama produce|idempotent|old|consume BOOTSTRAP TOPIC GROUP [VALUE ...]
//
// produce writes each value with the header fleet=demo, idempotent as an idempotent producer, old as one
// that takes the broker for a Kafka 0.11; consume reads as a group, from the beginning, and prints the values that were
// named until it has all.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

func main() {
	action, brokers, topic, group, values := os.Args[1], os.Args[2:3], os.Args[3], os.Args[4], os.Args[5:]
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true // a SyncProducer asks for it
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	switch action {
	case "produce", "idempotent", "old":
		if action == "old" {
			config.Version = sarama.V0_11_0_0
		}
		if action != "produce" {
			config.Producer.Idempotent = true
			config.Producer.RequiredAcks = sarama.WaitForAll
			config.Net.MaxOpenRequests = 1
		}
		producer, err := sarama.NewSyncProducer(brokers, config)
		must(err)
		for _, value := range values {
			_, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(value),
				Headers: []sarama.RecordHeader{{Key: []byte("fleet"), Value: []byte("demo")}}})
			must(err)
		}
		must(producer.Close())
	case "consume":
		consumer, err := sarama.NewConsumerGroup(brokers, group, config)
		must(err)
		reader := &reader{wanted: map[string]bool{}, done: cancel}
		for _, value := range values {
			reader.wanted[value] = true
		}
		for ctx.Err() == nil {
			must(consumer.Consume(ctx, []string{topic}, reader))
		}
		must(consumer.Close())
		if len(reader.wanted) > 0 {
			must(fmt.Errorf("%d values did not come", len(reader.wanted)))
		}
	}
}

type reader struct {
	wanted map[string]bool
	done   func()
	lock   sync.Mutex
}

func (r *reader) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (r *reader) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (r *reader) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			r.take(strings.TrimSpace(string(message.Value)))
			session.MarkMessage(message, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func (r *reader) take(value string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.wanted[value] {
		delete(r.wanted, value)
		fmt.Println(value)
	}
	if len(r.wanted) == 0 {
		r.done()
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
