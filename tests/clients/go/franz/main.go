// The driver of franz-go: kgo, with kadm for administration.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"brooklet/clients/contract"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	timeout = 30 * time.Second
	// A poll of a group's member returns with nothing after this.
	poll        = 200 * time.Millisecond
	pollRecords = 200
)

func main() {
	contract.Run("github.com/twmb/franz-go", map[string]contract.Verb{
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

func produce(bootstrap string, args []string) error {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(bootstrap),
		kgo.DefaultProduceTopic(args[0]),
		kgo.ProducerLinger(contract.Linger),
		kgo.ProducerBatchCompression(codecs[args[3]]),
		kgo.RequiredAcks(kgo.AllISRAcks()),
	}
	if !slices.Contains(args[4:], "idempotent") {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx := context.Background()
	var failed kgo.FirstErrPromise
	for n := contract.Number(args[1]); n < contract.Number(args[2]); n++ {
		key, value := contract.Record(int(n))
		client.Produce(ctx, &kgo.Record{Key: key, Value: value}, failed.Promise())
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	return failed.Err()
}

func consume(bootstrap string, args []string) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumeTopics(args[0]),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	for count := contract.Number(args[1]); count > 0; {
		fetches := client.PollFetches(context.Background())
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			contract.Emit(r.Partition, r.Offset, string(r.Key), string(r.Value))
			count--
		})
	}
	return nil
}

func group(bootstrap string, args []string) error {
	balancers := map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(),
		"sticky": kgo.StickyBalancer(), "cooperative-sticky": kgo.CooperativeStickyBalancer(),
	}
	strategy := "cooperative-sticky"
	if len(args) > 2 {
		strategy = args[2]
	}
	balancer, known := balancers[strategy]
	if !known {
		return fmt.Errorf("%w: the assignor %s", contract.ErrLacks, strategy)
	}
	var assigned contract.Assigned
	gone := func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { assigned.Remove(lost[args[0]]) }
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumeTopics(args[0]),
		kgo.ConsumerGroup(args[1]),
		kgo.Balancers(balancer),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(contract.Session),
		kgo.HeartbeatInterval(contract.Heartbeat),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, new map[string][]int32) { assigned.Add(new[args[0]]) }),
		kgo.OnPartitionsRevoked(gone),
		kgo.OnPartitionsLost(gone),
	)
	if err != nil {
		return err
	}
	owed := false
	for leaving := contract.Leaving(); leaving.Err() == nil; {
		owed = process(client, leaving, args[0], owed)
		client.AllowRebalance()
	}
	client.CloseAllowingRebalance()
	return nil
}

// One poll, and a commit of it, or of what the last one owed. Whether that failed.
func process(client *kgo.Client, leaving context.Context, topic string, owed bool) bool {
	ctx, cancel := context.WithTimeout(leaving, poll)
	fetches := client.PollRecords(ctx, pollRecords)
	cancel()
	records := fetches.Records()
	for _, r := range records {
		contract.Emit("record", r.Partition, r.Offset, string(r.Key), string(r.Value))
	}
	if len(records) == 0 && !owed {
		return false
	}
	ctx, cancel = context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := client.CommitUncommittedOffsets(ctx); err != nil {
		// In a rebalance, or while the broker is away: tried again after the next poll. What has gone to another member is read again there.
		contract.Emit("uncommitted", err)
		return true
	}
	for partition, at := range client.CommittedOffsets()[topic] {
		if at.Offset > 0 {
			contract.Emit("committed", partition, at.Offset)
		}
	}
	return false
}

// Calls with a client for administration.
func with(bootstrap string, call func(context.Context, *kadm.Client) error) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return call(ctx, kadm.NewClient(client))
}

func create(bootstrap string, args []string) error {
	return with(bootstrap, func(ctx context.Context, admin *kadm.Client) error {
		_, err := admin.CreateTopic(ctx, int32(contract.Number(args[1])), 1, nil, args[0])
		return err
	})
}

func committed(bootstrap string, args []string) error {
	return with(bootstrap, func(ctx context.Context, admin *kadm.Client) error {
		offsets, err := admin.FetchOffsets(ctx, args[1])
		if err == nil {
			err = offsets.Error()
		}
		offsets.Each(func(o kadm.OffsetResponse) {
			if o.Topic == args[0] {
				contract.Emit(o.Partition, o.At)
			}
		})
		return err
	})
}

func describe(bootstrap string, args []string) error {
	return with(bootstrap, func(ctx context.Context, admin *kadm.Client) error {
		topics, err := admin.ListTopics(ctx, args[0])
		if err != nil {
			return err
		}
		if err := topics.Error(); err != nil {
			return err
		}
		contract.Emit("partitions", len(topics[args[0]].Partitions))
		resources, err := admin.DescribeTopicConfigs(ctx, args[0])
		if err != nil {
			return err
		}
		resource, err := resources.On(args[0], nil)
		if err == nil {
			err = resource.Err
		}
		for _, config := range resource.Configs {
			contract.Emit("config", config.Key, config.MaybeValue())
		}
		return err
	})
}

func alter(bootstrap string, args []string) error {
	return with(bootstrap, func(ctx context.Context, admin *kadm.Client) error {
		change := kadm.AlterConfig{Op: kadm.SetConfig, Name: args[1], Value: &args[2]}
		answers, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{change}, args[0])
		if err != nil {
			return err
		}
		answer, err := answers.On(args[0], nil)
		if err == nil {
			err = answer.Err
		}
		return err
	})
}

func listGroups(bootstrap string, _ []string) error {
	return with(bootstrap, func(ctx context.Context, admin *kadm.Client) error {
		groups, err := admin.ListGroups(ctx)
		for _, name := range groups.Groups() {
			contract.Emit(name)
		}
		return err
	})
}

func describeGroup(bootstrap string, args []string) error {
	return with(bootstrap, func(ctx context.Context, admin *kadm.Client) error {
		groups, err := admin.DescribeGroups(ctx, args[0])
		if err == nil {
			err = groups.Error()
		}
		if err != nil {
			return err
		}
		contract.Emit(groups[args[0]].State, len(groups[args[0]].Members))
		return nil
	})
}

func deleteGroup(bootstrap string, args []string) error {
	return with(bootstrap, func(ctx context.Context, admin *kadm.Client) error {
		answer, err := admin.DeleteGroup(ctx, args[0])
		if err == nil {
			err = answer.Err
		}
		return err
	})
}

func deleteRecords(bootstrap string, args []string) error {
	return with(bootstrap, func(ctx context.Context, admin *kadm.Client) error {
		var before kadm.Offsets
		before.AddOffset(args[0], int32(contract.Number(args[1])), contract.Number(args[2]), -1)
		answers, err := admin.DeleteRecords(ctx, before)
		if err == nil {
			err = answers.Error()
		}
		return err
	})
}

func deleteTopic(bootstrap string, args []string) error {
	return with(bootstrap, func(ctx context.Context, admin *kadm.Client) error {
		answer, err := admin.DeleteTopic(ctx, args[0])
		if err == nil {
			err = answer.Err
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, answer.ErrMessage)
		}
		return err
	})
}
