/** For tests: the browser's WebSocket as far as it is used, its server played by hand. */
export class PlayedSocket {
  static readonly OPEN = 1;
  static all: PlayedSocket[] = [];
  readyState = 0;
  sent: string[] = [];
  onopen?: () => void;
  onmessage?: (message: { data: string }) => void;
  onclose?: (closed: { code: number }) => void;

  constructor(readonly url: string) {
    PlayedSocket.all.push(this);
  }

  static get last(): PlayedSocket {
    const last = PlayedSocket.all.at(-1);
    if (last === undefined) throw new Error("no socket was opened");
    return last;
  }

  send(text: string) {
    this.sent.push(text);
  }

  /** As with a peer that is gone: nothing confirms the close. */
  close() {
    this.readyState = 2;
  }

  open() {
    this.readyState = 1;
    this.onopen?.();
  }

  say(message: object) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  drop(code = 1006) {
    this.readyState = 3;
    this.onclose?.({ code });
  }
}
