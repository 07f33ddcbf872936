export function DriftPart() {
  return null;
}
