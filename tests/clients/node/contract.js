// What the Node drivers share: verbs of the command line become calls of a driver's functions (../main.rs has them). A verb
// without a function is what the library lacks.
'use strict';

const LACKS = 3;
// Short ones, so that a member that was killed is missed soon.
const SESSION_MS = 6000;
const HEARTBEAT_MS = 500;

class Lacks extends Error {}

const emit = (...words) => process.stdout.write(`${words.join(' ')}\n`);

const record = (number) => ({ key: `k${number}`, value: `v${number}` });

// A promise that is kept when standard input ends.
const leaving = () => new Promise((left) => process.stdin.on('end', left).resume());

async function run(verbs) {
  const [verb, bootstrap, ...args] = process.argv.slice(2);
  if (!verbs[verb]) {
    emit(`no ${verb} in the library`);
    process.exit(LACKS);
  }
  try {
    await verbs[verb](bootstrap, ...args);
    // What the library still has open, such as timers of retries, must not hold the process.
    process.stdout.write('', () => process.exit(0));
  } catch (error) {
    if (error instanceof Lacks) emit(error.message);
    else console.error(error);
    process.exit(error instanceof Lacks ? LACKS : 1);
  }
}

module.exports = { HEARTBEAT_MS, Lacks, SESSION_MS, emit, leaving, record, run };
