import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/** Kafka's own client library. The verbs are those of ../main.rs. */
public final class Driver {
    private static final Duration POLL = Duration.ofMillis(200);
    private static final Map<String, String> ASSIGNORS = Map.of(
        "range", "org.apache.kafka.clients.consumer.RangeAssignor",
        "roundrobin", "org.apache.kafka.clients.consumer.RoundRobinAssignor",
        "cooperative-sticky", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");

    private final String bootstrap;

    private Driver(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    public static void main(String[] words) throws Exception {
        if (words[0].equals("version")) {
            emit("Java", AppInfoParser.getVersion());
            return;
        }
        String[] args = Arrays.copyOfRange(words, 2, words.length);
        Driver driver = new Driver(words[1]);
        switch (words[0]) {
            case "produce" -> driver.produce(args[0], number(args[1]), number(args[2]), args[3], args.length > 4);
            case "consume" -> driver.consume(args[0], number(args[1]));
            case "group" -> driver.group(args[0], args[1], args.length > 2 ? args[2] : "cooperative-sticky");
            default -> driver.administer(words[0], args);
        }
    }

    private void administer(String verb, String[] args) throws Exception {
        try (Admin admin = Admin.create(settings(Map.of()))) {
            switch (verb) {
                case "create" -> admin.createTopics(List.of(new NewTopic(args[0], number(args[1]), (short) 1))).all().get();
                case "committed" -> committed(admin, args[0], args[1]);
                case "describe" -> describe(admin, args[0]);
                case "alter" -> {
                    AlterConfigOp set = new AlterConfigOp(new ConfigEntry(args[1], args[2]), AlterConfigOp.OpType.SET);
                    admin.incrementalAlterConfigs(Map.of(topic(args[0]), List.of(set))).all().get();
                }
                case "list-groups" -> {
                    ListGroupsOptions ofConsumers = ListGroupsOptions.forConsumerGroups();
                    for (GroupListing group : admin.listGroups(ofConsumers).all().get()) emit(group.groupId());
                }
                case "describe-group" -> {
                    var group = admin.describeConsumerGroups(List.of(args[0])).all().get().get(args[0]);
                    emit(group.groupState(), group.members().size());
                }
                case "delete-group" -> admin.deleteConsumerGroups(List.of(args[0])).all().get();
                case "delete-records" -> {
                    TopicPartition partition = new TopicPartition(args[0], number(args[1]));
                    RecordsToDelete before = RecordsToDelete.beforeOffset(Long.parseLong(args[2]));
                    admin.deleteRecords(Map.of(partition, before)).all().get();
                }
                case "delete" -> admin.deleteTopics(List.of(args[0])).all().get();
                default -> {
                    emit("no " + verb);
                    System.exit(3);
                }
            }
        }
    }

    private void committed(Admin admin, String topic, String group) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> offsets =
            admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        offsets.forEach((partition, offset) -> {
            if (partition.topic().equals(topic)) emit(partition.partition(), offset.offset());
        });
    }

    private void describe(Admin admin, String topic) throws Exception {
        emit("partitions", admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
        for (ConfigEntry entry : admin.describeConfigs(List.of(topic(topic))).all().get().get(topic(topic)).entries()) {
            emit("config", entry.name(), entry.value());
        }
    }

    private void produce(String topic, int from, int to, String codec, boolean idempotent) throws Exception {
        Properties settings = settings(Map.of(
            "acks", "all",
            "compression.type", codec,
            "enable.idempotence", String.valueOf(idempotent),
            "linger.ms", "20"));
        AtomicReference<Exception> failed = new AtomicReference<>();
        try (KafkaProducer<String, String> producer =
                 new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int number = from; number < to; number++) {
                producer.send(new ProducerRecord<>(topic, "k" + number, "v" + number), (stored, failure) -> {
                    if (failure != null) failed.set(failure);
                });
            }
            producer.flush();
        }
        if (failed.get() != null) throw failed.get();
    }

    private void consume(String topic, int count) {
        try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                .map(info -> new TopicPartition(topic, info.partition())).collect(Collectors.toList());
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            for (int seen = 0; seen < count; ) {
                for (ConsumerRecord<String, String> record : consumer.poll(POLL)) {
                    emit(record.partition(), record.offset(), record.key(), record.value());
                    seen++;
                }
            }
        }
    }

    private void group(String topic, String group, String strategy) {
        Map<String, String> settings = new HashMap<>(Map.of(
            "group.id", group,
            "auto.offset.reset", "earliest",
            "enable.auto.commit", "false",
            "session.timeout.ms", "6000",
            "heartbeat.interval.ms", "500",
            "partition.assignment.strategy", ASSIGNORS.get(strategy)));
        Thread left = new Thread(Driver::readToTheEnd);
        left.setDaemon(true);
        left.start();
        try (KafkaConsumer<String, String> consumer = consumer(settings)) {
            consumer.subscribe(List.of(topic), new Telling(consumer));
            boolean owed = false;
            while (left.isAlive()) {
                ConsumerRecords<String, String> records = consumer.poll(POLL);
                for (ConsumerRecord<String, String> record : records) {
                    emit("record", record.partition(), record.offset(), record.key(), record.value());
                }
                if (owed || !records.isEmpty()) owed = !commit(consumer, records.nextOffsets());
            }
        }
    }

    /** Whether all that was read is committed. */
    private static boolean commit(KafkaConsumer<String, String> consumer, Map<TopicPartition, OffsetAndMetadata> offsets) {
        try {
            consumer.commitSync();
            offsets.forEach((partition, offset) -> emit("committed", partition.partition(), offset.offset()));
            return true;
        } catch (KafkaException refused) {
            // In a rebalance, or while the broker is away: tried again after the next poll. What has gone to another member is read again there.
            emit("uncommitted", refused);
            return false;
        }
    }

    /** Prints the partitions after every rebalance. */
    private record Telling(KafkaConsumer<String, String> consumer) implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
            tell(revoked);
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> lost) {
            tell(lost);
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> added) {
            tell(Collections.emptyList());
        }

        private void tell(Collection<TopicPartition> without) {
            List<Object> words = new ArrayList<>(List.of("assigned"));
            consumer.assignment().stream().filter(partition -> !without.contains(partition))
                .map(TopicPartition::partition).sorted().forEach(words::add);
            emit(words.toArray());
        }
    }

    private KafkaConsumer<String, String> consumer(Map<String, String> more) {
        return new KafkaConsumer<>(settings(more), new StringDeserializer(), new StringDeserializer());
    }

    private Properties settings(Map<String, String> more) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.putAll(more);
        return settings;
    }

    private static ConfigResource topic(String name) {
        return new ConfigResource(ConfigResource.Type.TOPIC, name);
    }

    private static int number(String word) {
        return Integer.parseInt(word);
    }

    private static void readToTheEnd() {
        try {
            System.in.readAllBytes();
        } catch (java.io.IOException ended) {
            // That is an end as well.
        }
    }

    /** A line. System.out flushes at its end. */
    private static synchronized void emit(Object... words) {
        System.out.println(Arrays.stream(words).map(String::valueOf).collect(Collectors.joining(" ")));
    }
}
