/** Does a member's UDP answer ours? It decides over which way news goes to it. Until it is known, UDP is taken to work. */
export class UdpPath {
  private answered = false;
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
    this.onlyTcp = false;
  }

  /** None of a greeting's pings was answered, but the one over TCP. */
  missed(): void {
    this.onlyTcp = true;
  }

  /** It comes back, perhaps elsewhere. */
  forget(): void {
    this.answered = false;
    this.onlyTcp = false;
  }
}
