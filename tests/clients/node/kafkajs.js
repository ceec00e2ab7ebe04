// KafkaJS, with the codecs that its users plug in.
'use strict';

const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, PartitionAssigners, logLevel } = require('kafkajs');
const lz4 = require('lz4-napi');
const snappy = require('kafkajs-snappy');
const zstd = require('@mongodb-js/zstd');

const { HEARTBEAT_MS, Lacks, SESSION_MS, emit, leaving, record, run } = require('./contract');

CompressionCodecs[CompressionTypes.Snappy] = snappy;
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: (bytes) => lz4.decompressFrame(bytes),
});
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: (encoder) => zstd.compress(encoder.buffer),
  decompress: (bytes) => zstd.decompress(bytes),
});

const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};
// Records handed over at once.
const CHUNK = 2000;

const kafka = (bootstrap) => new Kafka({
  clientId: 'matrix',
  brokers: [bootstrap],
  logLevel: logLevel.ERROR,
  logCreator: () => ({ log }) => console.error(log.message, log.error ?? ''),
  // Long enough for a restart of the broker.
  retry: { retries: 300, initialRetryTime: 100, maxRetryTime: 500 },
  connectionTimeout: 10000,
});

async function withAdmin(bootstrap, call) {
  const admin = kafka(bootstrap).admin();
  await admin.connect();
  await call(admin);
  await admin.disconnect();
}

const verbs = {
  version: async () => emit('kafkajs', require('kafkajs/package.json').version),

  create: (bootstrap, topic, partitions) => withAdmin(bootstrap, async (admin) => {
    const created = await admin.createTopics({
      topics: [{ topic, numPartitions: Number(partitions), replicationFactor: 1 }],
    });
    if (!created) throw new Error('the topic was there already');
  }),

  produce: async (bootstrap, topic, from, to, codec, mode) => {
    const producer = kafka(bootstrap).producer({ idempotent: mode === 'idempotent' });
    await producer.connect();
    for (let first = Number(from); first < Number(to); first += CHUNK) {
      const end = Math.min(first + CHUNK, Number(to));
      const messages = Array.from({ length: end - first }, (_, index) => record(first + index));
      await producer.send({ topic, messages, acks: -1, compression: CODECS[codec] });
    }
    await producer.disconnect();
  },

  consume: async (bootstrap, topic, count) => {
    // The library has no consumer without a group: one of its own, which commits nothing.
    const consumer = kafka(bootstrap).consumer({ groupId: `reading-${process.pid}` });
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    let left = Number(count);
    await new Promise((done) => {
      const eachMessage = async ({ partition, message }) => {
        if (left > 0) emit(partition, message.offset, message.key, message.value);
        left -= 1;
        if (left === 0) done();
      };
      consumer.run({ autoCommit: false, eachMessage });
    });
    await consumer.disconnect();
  },

  group: async (bootstrap, topic, groupId, strategy = 'roundrobin') => {
    if (strategy !== 'roundrobin') throw new Lacks(`no assignor ${strategy}`);
    const consumer = kafka(bootstrap).consumer({
      groupId,
      partitionAssigners: [PartitionAssigners.roundRobin],
      sessionTimeout: SESSION_MS,
      heartbeatInterval: HEARTBEAT_MS,
    });
    const { GROUP_JOIN, REBALANCING } = consumer.events;
    consumer.on(GROUP_JOIN, ({ payload }) => emit('assigned', ...(payload.memberAssignment[topic] ?? [])));
    consumer.on(REBALANCING, () => emit('assigned'));
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: async ({ batch, resolveOffset, isRunning, isStale }) => {
        if (!isRunning() || isStale()) return;
        for (const { offset, key, value } of batch.messages) emit('record', batch.partition, offset, key, value);
        const next = (BigInt(batch.lastOffset()) + 1n).toString();
        resolveOffset(batch.lastOffset());
        try {
          await consumer.commitOffsets([{ topic, partition: batch.partition, offset: next }]);
          emit('committed', batch.partition, next);
        } catch (error) {
          // In a rebalance, or while the broker is away: what wasn't committed is read again.
          emit('uncommitted', error.message);
          throw error;
        }
      },
    });
    await leaving();
    await consumer.disconnect();
  },

  committed: (bootstrap, topic, groupId) => withAdmin(bootstrap, async (admin) => {
    const answers = await admin.fetchOffsets({ groupId, topics: [topic] });
    for (const { partition, offset } of answers.flatMap(({ partitions }) => partitions)) {
      if (offset !== '-1') emit(partition, offset);
    }
  }),

  describe: (bootstrap, topic) => withAdmin(bootstrap, async (admin) => {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    emit('partitions', topics[0].partitions.length);
    const answer = await admin.describeConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] });
    for (const { configName, configValue } of answer.resources[0].configEntries) emit('config', configName, configValue);
  }),

  alter: (bootstrap, topic, name, value) => withAdmin(bootstrap, (admin) => admin.alterConfigs({
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name, value }] }],
  })),

  'list-groups': (bootstrap) => withAdmin(bootstrap, async (admin) => {
    for (const { groupId } of (await admin.listGroups()).groups) emit(groupId);
  }),

  'describe-group': (bootstrap, groupId) => withAdmin(bootstrap, async (admin) => {
    const { state, members } = (await admin.describeGroups([groupId])).groups[0];
    emit(state, members.length);
  }),

  'delete-group': (bootstrap, groupId) => withAdmin(bootstrap, (admin) => admin.deleteGroups([groupId])),

  'delete-records': (bootstrap, topic, partition, offset) => withAdmin(bootstrap, async (admin) => {
    // It fails until the client knows the topic, which is for its user to see to.
    await admin.fetchTopicOffsets(topic);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: Number(partition), offset }] });
  }),

  delete: (bootstrap, topic) => withAdmin(bootstrap, (admin) => admin.deleteTopics({ topics: [topic] })),
};

run(verbs);
