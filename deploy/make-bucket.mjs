// For trying things out: makes the bucket that CASK_S3_* names, unless it is there. Waits for the server.
import { CreateBucketCommand, HeadBucketCommand, S3Client } from "@aws-sdk/client-s3";

const {
  CASK_S3_BUCKET: Bucket,
  CASK_S3_ENDPOINT: endpoint,
  CASK_S3_REGION: region = "us-east-1",
  CASK_S3_ACCESS_KEY: accessKeyId,
  CASK_S3_SECRET_KEY: secretAccessKey,
  CASK_S3_FORCE_PATH_STYLE: pathStyle,
} = process.env;
const client = new S3Client({
  ...(endpoint ? { endpoint } : {}),
  ...(accessKeyId ? { credentials: { accessKeyId, secretAccessKey } } : {}),
  region,
  forcePathStyle: pathStyle === "true",
});

const TRIES = 30;
for (let attempt = 1; ; attempt++) {
  try {
    await client.send(new HeadBucketCommand({ Bucket }));
    break;
  } catch (error) {
    if (attempt === TRIES) throw error;
    const isMissing = error.$metadata?.httpStatusCode === 404;
    if (isMissing) await client.send(new CreateBucketCommand({ Bucket }));
    else await new Promise((done) => setTimeout(done, 1_000));
  }
}
