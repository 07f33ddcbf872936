export function QueuePart() {
  return null;
}
