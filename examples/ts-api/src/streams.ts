// Those who listen for longer than a request takes: each is told when the process ends.

export class Streams {
  ending = false;
  private readonly goodbyes = new Set<() => void>();

  // Has `goodbye` called at the end; what is returned takes it back.
  add(goodbye: () => void): () => void {
    if (this.ending) {
      goodbye();
      return () => {};
    }
    this.goodbyes.add(goodbye);
    return () => this.goodbyes.delete(goodbye);
  }

  end(): void {
    this.ending = true;
    for (const goodbye of this.goodbyes) goodbye();
    this.goodbyes.clear();
  }
}
