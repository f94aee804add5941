import { loadConfigFromEnvironment } from "./config.ts";
import { hashInThread } from "./core/body-hasher.ts";
import { collectLessOften } from "./core/collector.ts";
import { CaskError } from "./core/errors.ts";
import { createLogger, LogRing } from "./core/log.ts";
import { readInThread } from "./core/read-bytes.ts";
import { createNode } from "./node.ts";

/** Exit codes: 0 stopped on purpose, 1 failed, 2 wrong settings, 3 the UUID belongs to another live node. */
const EXIT = { stopped: 0, failed: 1, badConfig: 2, refused: 3 } as const;

function loadOrExit() {
  try {
    return loadConfigFromEnvironment();
  } catch (error) {
    if (!(error instanceof CaskError)) throw error;
    console.error(error.message);
    process.exit(EXIT.badConfig);
  }
}

async function main(): Promise<void> {
  const { config, warnings } = loadOrExit();
  hashInThread();
  readInThread();
  const logRing = new LogRing();
  const log = createLogger({ level: config.logLevel, ring: logRing });
  for (const warning of warnings) log.warn({}, warning);
  let stopping = false;
  const stopAndExit = async (code: number) => {
    if (stopping) return;
    stopping = true;
    await node.stop();
    process.exit(code);
  };
  const node = await createNode({
    config,
    log,
    logRing,
    onFatal: (error) => {
      log.fatal({}, error.message);
      void stopAndExit(EXIT.refused);
    },
  });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      log.info({}, `${signal}: finishing what is under way`);
      void stopAndExit(EXIT.stopped);
    });
  }
  process.on("SIGHUP", () => void node.renew());
  await node.start();
  collectLessOften();
}

main().catch((error: unknown) => {
  const message = error instanceof CaskError ? error.message : String(error instanceof Error ? error.stack : error);
  console.error(`cask cannot start: ${message}`);
  process.exit(EXIT.failed);
});
