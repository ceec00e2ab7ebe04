// The driver of Sarama.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"brooklet/clients/contract"

	"github.com/IBM/sarama"
)

const (
	// Long enough for a restart of the broker.
	tries = 480
	pause = 250 * time.Millisecond
	// Records a member takes at a time.
	pollRecords = 200
)

func main() {
	contract.Run("github.com/IBM/sarama", map[string]contract.Verb{
		"create":         create,
		"produce":        produce,
		"consume":        consume,
		"group":          group,
		"committed":      committed,
		"describe":       describe,
		"alter":          alter,
		"list-groups":    listGroups,
		"describe-group": describeGroup,
		"delete-group":   deleteGroup,
		"delete-records": deleteRecords,
		"delete":         deleteTopic,
	})
}

// The settings of all its clients: the newest protocol that the library knows, and patience.
func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Metadata.Retry.Max, config.Metadata.Retry.Backoff = tries, pause
	return config
}

func produce(bootstrap string, args []string) error {
	config := settings()
	if err := config.Producer.Compression.UnmarshalText([]byte(args[3])); err != nil {
		return err
	}
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Flush.Frequency = contract.Linger
	config.Producer.Retry.Max, config.Producer.Retry.Backoff = tries, pause
	if slices.Contains(args[4:], "idempotent") {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
	}
	producer, err := sarama.NewAsyncProducer([]string{bootstrap}, config)
	if err != nil {
		return err
	}
	from, to := contract.Number(args[1]), contract.Number(args[2])
	go func() {
		for n := from; n < to; n++ {
			key, value := contract.Record(int(n))
			producer.Input() <- &sarama.ProducerMessage{
				Topic: args[0], Key: sarama.ByteEncoder(key), Value: sarama.ByteEncoder(value),
			}
		}
	}()
	for n := from; n < to; n++ {
		select {
		case <-producer.Successes():
		case failed := <-producer.Errors():
			return failed
		}
	}
	return producer.Close()
}

func consume(bootstrap string, args []string) error {
	config := settings()
	config.Consumer.Return.Errors = true
	consumer, err := sarama.NewConsumer([]string{bootstrap}, config)
	if err != nil {
		return err
	}
	defer consumer.Close()
	partitions, err := consumer.Partitions(args[0])
	if err != nil {
		return err
	}
	all, failed := make(chan *sarama.ConsumerMessage), make(chan error)
	for _, partition := range partitions {
		one, err := consumer.ConsumePartition(args[0], partition, sarama.OffsetOldest)
		if err != nil {
			return err
		}
		go func() {
			for message := range one.Messages() {
				all <- message
			}
		}()
		go func() {
			for err := range one.Errors() {
				failed <- err
			}
		}()
	}
	for count := contract.Number(args[1]); count > 0; count-- {
		select {
		case m := <-all:
			contract.Emit(m.Partition, m.Offset, string(m.Key), string(m.Value))
		case err := <-failed:
			return err
		}
	}
	return nil
}

func group(bootstrap string, args []string) error {
	strategies := map[string]sarama.BalanceStrategy{
		"range":      sarama.NewBalanceStrategyRange(),
		"roundrobin": sarama.NewBalanceStrategyRoundRobin(),
		"sticky":     sarama.NewBalanceStrategySticky(),
	}
	strategy := "range"
	if len(args) > 2 {
		strategy = args[2]
	}
	balance, known := strategies[strategy]
	if !known {
		return fmt.Errorf("%w: the assignor %s", contract.ErrLacks, strategy)
	}
	config := settings()
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{balance}
	config.Consumer.Group.Session.Timeout = contract.Session
	config.Consumer.Group.Heartbeat.Interval = contract.Heartbeat
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	consumers, err := sarama.NewConsumerGroup([]string{bootstrap}, args[1], config)
	if err != nil {
		return err
	}
	admin, err := sarama.NewClusterAdmin([]string{bootstrap}, settings())
	if err != nil {
		return err
	}
	defer admin.Close()
	member := &member{topic: args[0], group: args[1], admin: admin}
	leaving := contract.Leaving()
	for leaving.Err() == nil {
		// Returns at every rebalance, and when the broker is away.
		if err := consumers.Consume(leaving, []string{args[0]}, member); err != nil {
			fmt.Fprintln(os.Stderr, err)
			time.Sleep(pause)
		}
	}
	return consumers.Close()
}

// What a member does between two rebalances.
type member struct {
	topic, group string
	admin        sarama.ClusterAdmin
	assigned     contract.Assigned
	commit       sync.Mutex
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.assigned.Set(session.Claims()[m.topic])
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error {
	m.assigned.Set(nil)
	return nil
}

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		for taken := 0; message != nil; taken++ {
			contract.Emit("record", message.Partition, message.Offset, string(message.Key), string(message.Value))
			session.MarkMessage(message, "")
			message = nil
			if taken < pollRecords {
				select {
				case message = <-claim.Messages():
				default:
				}
			}
		}
		m.commitNow(session, claim.Partition())
	}
	return nil
}

// The library's commit doesn't say whether it succeeded, so the broker is asked.
func (m *member) commitNow(session sarama.ConsumerGroupSession, partition int32) {
	m.commit.Lock()
	defer m.commit.Unlock()
	session.Commit()
	answer, err := m.admin.ListConsumerGroupOffsets(m.group, map[string][]int32{m.topic: {partition}})
	if err != nil {
		contract.Emit("uncommitted", err)
		return
	}
	if block := answer.GetBlock(m.topic, partition); block != nil && block.Offset >= 0 {
		contract.Emit("committed", partition, block.Offset)
	}
}

// Calls with a client for administration.
func with(bootstrap string, call func(sarama.ClusterAdmin) error) error {
	admin, err := sarama.NewClusterAdmin([]string{bootstrap}, settings())
	if err != nil {
		return err
	}
	return errors.Join(call(admin), admin.Close())
}

func create(bootstrap string, args []string) error {
	return with(bootstrap, func(admin sarama.ClusterAdmin) error {
		detail := sarama.TopicDetail{NumPartitions: int32(contract.Number(args[1])), ReplicationFactor: 1}
		return admin.CreateTopic(args[0], &detail, false)
	})
}

func committed(bootstrap string, args []string) error {
	return with(bootstrap, func(admin sarama.ClusterAdmin) error {
		answer, err := admin.ListConsumerGroupOffsets(args[1], nil)
		if err != nil {
			return err
		}
		for partition, block := range answer.Blocks[args[0]] {
			contract.Emit(partition, block.Offset)
		}
		return nil
	})
}

func describe(bootstrap string, args []string) error {
	return with(bootstrap, func(admin sarama.ClusterAdmin) error {
		topics, err := admin.DescribeTopics([]string{args[0]})
		if err != nil {
			return err
		}
		if topics[0].Err != sarama.ErrNoError {
			return topics[0].Err
		}
		contract.Emit("partitions", len(topics[0].Partitions))
		entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: args[0]})
		for _, entry := range entries {
			contract.Emit("config", entry.Name, entry.Value)
		}
		return err
	})
}

func alter(bootstrap string, args []string) error {
	return with(bootstrap, func(admin sarama.ClusterAdmin) error {
		change := map[string]sarama.IncrementalAlterConfigsEntry{
			args[1]: {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &args[2]},
		}
		return admin.IncrementalAlterConfig(sarama.TopicResource, args[0], change, false)
	})
}

func listGroups(bootstrap string, _ []string) error {
	return with(bootstrap, func(admin sarama.ClusterAdmin) error {
		groups, err := admin.ListConsumerGroups()
		for name := range groups {
			contract.Emit(name)
		}
		return err
	})
}

func describeGroup(bootstrap string, args []string) error {
	return with(bootstrap, func(admin sarama.ClusterAdmin) error {
		groups, err := admin.DescribeConsumerGroups([]string{args[0]})
		if err != nil {
			return err
		}
		if groups[0].Err != sarama.ErrNoError {
			return groups[0].Err
		}
		contract.Emit(groups[0].State, len(groups[0].Members))
		return nil
	})
}

func deleteGroup(bootstrap string, args []string) error {
	return with(bootstrap, func(admin sarama.ClusterAdmin) error { return admin.DeleteConsumerGroup(args[0]) })
}

func deleteRecords(bootstrap string, args []string) error {
	return with(bootstrap, func(admin sarama.ClusterAdmin) error {
		before := map[int32]int64{int32(contract.Number(args[1])): contract.Number(args[2])}
		return admin.DeleteRecords(args[0], before)
	})
}

func deleteTopic(bootstrap string, args []string) error {
	return with(bootstrap, func(admin sarama.ClusterAdmin) error { return admin.DeleteTopic(args[0]) })
}

var _ sarama.ConsumerGroupHandler = (*member)(nil)
