/** A member that answered over UDP before is only taken for unreachable by UDP after so many pings: packets get lost. */
const MISSES_OF_KNOWN_COUNT = 3;

/** Does a member's UDP answer ours? It decides over which way news goes to it. */
export class UdpPath {
  private answered = false;
  private misses = 0;
  private onlyTcp = false;

  /** It answers pings over TCP and none over UDP. */
  get tcpOnly(): boolean {
    return this.onlyTcp;
  }

  /** Has it been found out? */
  get known(): boolean {
    return this.answered || this.onlyTcp;
  }

  /** It answered a ping of ours, itself, over UDP. */
  acked(): void {
    this.answered = true;
    this.misses = 0;
    this.onlyTcp = false;
  }

  /** It did not, but answered over TCP. */
  missed(): void {
    this.misses++;
    if (!this.answered || this.misses >= MISSES_OF_KNOWN_COUNT) this.onlyTcp = true;
  }

  /** It comes back, perhaps elsewhere. */
  forget(): void {
    this.answered = false;
    this.misses = 0;
    this.onlyTcp = false;
  }
}
