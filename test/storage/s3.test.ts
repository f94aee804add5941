import { SystemRandom } from "../../src/core/random.ts";
import { S3Layout } from "../../src/storage/s3-layout.ts";
import { backendConformance } from "../conformance/backend.ts";
import { FAKE_S3, putObject, type S3Server, VERSITYGW } from "../support/s3-server.ts";
import { openS3 } from "../support/s3-under-test.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

describe.each([FAKE_S3, VERSITYGW])("$name", (kind) => {
  if (kind.missing !== null) {
    test.skip(`${kind.missing}`, () => undefined);
    return;
  }
  let server: S3Server;
  beforeAll(async () => {
    server = await kind.start();
  });
  afterAll(() => server.stop());

  backendConformance(`s3 on ${kind.name}`, async () => {
    const prefix = `node-${new SystemRandom().hex(4)}`;
    const { backend } = await openS3(server.url, { prefix, stateDir: await folders.make() });
    return { backend, damage: (key, bytes) => putObject(server.client, new S3Layout(prefix).blob(key), bytes) };
  });
});
