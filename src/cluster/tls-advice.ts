import { systemCode } from "../core/errors.ts";

const UNKNOWN_AUTHORITY = "; its certificate is of an authority that this node does not know: name it in CASK_SSL_CA";
const ADVICE: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "; renew the certificate there (CASK_SSL_CERT), and send SIGHUP",
  CERT_NOT_YET_VALID: "; is a clock wrong?",
  ERR_TLS_CERT_ALTNAME_INVALID: "; its certificate must name the host of its CASK_BASE_URL",
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_AUTHORITY,
};

/** What to do about a certificate that was refused, to be put behind the message; empty for all other errors. */
export function tlsAdvice(error: unknown): string {
  return ADVICE[systemCode(error) ?? ""] ?? "";
}
