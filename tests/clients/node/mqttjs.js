// MQTT.js. The verbs stand in tests/clients/mqtt/matrix.py.
'use strict'

const { readFileSync } = require('node:fs')
const mqtt = require('mqtt')

const FOREVER = 0xffffffff

function connect (address, level, name, keep, more = {}) {
  const v5 = level === '5' ? { properties: { sessionExpiryInterval: keep ? FOREVER : 0 } } : {}
  const options = { clientId: name, protocolVersion: Number(level), clean: !keep, reconnectPeriod: 300, ...v5, ...more }
  if (address.startsWith('wss:')) options.ca = readFileSync(process.env.BROOKLET_TEST_CA)
  const client = mqtt.connect(address.includes('://') ? `${address}/mqtt` : `mqtt://${address}`, options)
  // While the gateway is away: it connects again by itself.
  client.on('error', () => {})
  return client
}

async function publish (address, level, name, topic, qos, first, end, retain) {
  // Kept, so that what is under way when the gateway dies is sent again.
  const client = connect(address, level, name, true)
  const sent = []
  for (let number = Number(first); number < Number(end); number++) {
    sent.push(client.publishAsync(topic, `m${number}`, { qos: Number(qos), retain: retain === 'retain' }))
  }
  await Promise.all(sent)
  await client.endAsync()
}

function subscribe (address, level, name, pattern, qos, count, keep) {
  const client = connect(address, level, name, keep === 'keep')
  let left = Number(count)
  client.on('message', (topic, payload, packet) => {
    console.log(topic, payload.toString(), packet.qos, Number(packet.retain))
    left -= 1
    // The acknowledgement of this one is on its way once this function has ended.
    if (left === 0) setTimeout(() => client.end(), 100)
  })
  client.on('connect', () => client.subscribe(pattern, { qos: Number(qos) }, () => console.log('ready')))
}

function will (address, level, name, topic, payload) {
  const client = connect(address, level, name, false, { will: { topic, payload, qos: 1 } })
  client.on('connect', () => console.log('ready'))
}

const [verb, ...args] = process.argv.slice(2)
if (verb === 'version') {
  console.log('MQTT.js', require('mqtt/package.json').version)
} else {
  Promise.resolve({ publish, subscribe, will }[verb](...args)).catch((error) => {
    console.error(error)
    process.exit(1)
  })
}
