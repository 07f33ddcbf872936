export function RunsPart() {
  return null;
}
