export function AnswersPart() {
  return null;
}
