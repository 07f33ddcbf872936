export function TenantsPart() {
  return null;
}
