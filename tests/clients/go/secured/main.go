// Writes or reads one record with franz-go or Sarama, as somebody: for scripts/security.sh.
//
//	secured LIBRARY ADDRESS PROTOCOL MECHANISM USER PASSWORD-FILE read|write TOPIC TLS-DIR
//
// PROTOCOL and MECHANISM are Kafka's words; with SSL the certificate pump.pem is shown. It ends with 0 only if that was done.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Who is refused is told at once; this is for who waits in vain.
const patience = 8 * time.Second

type job struct {
	address, protocol, mechanism, user, password string
	writes                                       bool
	topic                                        string
	tls                                          *tls.Config
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 9 {
		return errors.New("nine arguments")
	}
	j := job{address: args[1], protocol: args[2], mechanism: args[3], user: args[4], writes: args[6] == "write", topic: args[7]}
	if j.protocol != "SSL" {
		password, err := os.ReadFile(args[5])
		if err != nil {
			return err
		}
		j.password = strings.TrimSpace(string(password))
	}
	if strings.Contains(j.protocol, "SSL") {
		authorities, err := os.ReadFile(args[8] + "/ca.pem")
		if err != nil {
			return err
		}
		j.tls = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
		j.tls.RootCAs.AppendCertsFromPEM(authorities)
		if j.protocol == "SSL" {
			pair, err := tls.LoadX509KeyPair(args[8]+"/pump.pem", args[8]+"/pump.key")
			if err != nil {
				return err
			}
			j.tls.Certificates = []tls.Certificate{pair}
		}
	}
	if args[0] == "sarama" {
		return j.sarama()
	}
	return j.franz()
}

func (j job) franz() error {
	options := []kgo.Opt{kgo.SeedBrokers(j.address), kgo.RecordDeliveryTimeout(patience)}
	if j.tls != nil {
		options = append(options, kgo.DialTLSConfig(j.tls))
	}
	switch j.mechanism {
	case "PLAIN":
		options = append(options, kgo.SASL(plain.Auth{User: j.user, Pass: j.password}.AsMechanism()))
	case "SCRAM-SHA-256":
		options = append(options, kgo.SASL(scram.Auth{User: j.user, Pass: j.password}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		options = append(options, kgo.SASL(scram.Auth{User: j.user, Pass: j.password}.AsSha512Mechanism()))
	}
	if !j.writes {
		options = append(options, kgo.ConsumeTopics(j.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if j.writes {
		return client.ProduceSync(ctx, &kgo.Record{Topic: j.topic, Value: []byte("x")}).FirstErr()
	}
	fetches := client.PollFetches(ctx)
	if fetches.NumRecords() > 0 {
		return nil
	}
	return errors.Join(fetches.Err(), errors.New("no record"))
}

func (j job) sarama() error {
	config := sarama.NewConfig()
	config.Net.DialTimeout, config.Net.ReadTimeout = patience, patience
	config.Metadata.Retry.Max, config.Producer.Retry.Max = 1, 1
	config.Producer.Return.Successes = true
	config.Net.TLS.Enable, config.Net.TLS.Config = j.tls != nil, j.tls
	if j.mechanism == "PLAIN" {
		config.Net.SASL.Enable, config.Net.SASL.Mechanism = true, sarama.SASLTypePlaintext
		config.Net.SASL.User, config.Net.SASL.Password = j.user, j.password
	} else if j.protocol != "SSL" {
		return errors.New("Sarama leaves SCRAM to its caller")
	}
	client, err := sarama.NewClient([]string{j.address}, config)
	if err != nil {
		return err
	}
	defer client.Close()
	if j.writes {
		producer, err := sarama.NewSyncProducerFromClient(client)
		if err != nil {
			return err
		}
		defer producer.Close()
		_, _, err = producer.SendMessage(&sarama.ProducerMessage{Topic: j.topic, Value: sarama.StringEncoder("x")})
		return err
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(j.topic, 0, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	defer partition.Close()
	select {
	case <-partition.Messages():
		return nil
	case <-time.After(patience):
		return errors.New("no record")
	}
}
