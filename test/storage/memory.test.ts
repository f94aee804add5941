import type { Key } from "../../src/core/key.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { MemoryBackend } from "../../src/storage/memory.ts";
import { backendConformance } from "../conformance/backend.ts";

class DamageableMemory extends MemoryBackend {
  async damage(key: Key, bytes: Uint8Array): Promise<void> {
    this.write(key, Buffer.from(bytes));
  }
}

backendConformance("memory", async () => {
  const backend = new DamageableMemory(new SeededRandom(1));
  return { backend, damage: (key, bytes) => backend.damage(key, bytes) };
});
