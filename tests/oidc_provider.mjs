// An OpenID provider on this machine, by the npm package oidc-provider:
// node oidc_provider.mjs PACKAGES ISSUER KEYS ALGORITHM
// PACKAGES has node_modules; KEYS is a file with a JWKS of private keys.
import { readFileSync } from 'node:fs';

const [packages, issuer, keys, algorithm] = process.argv.slice(2);
const { default: Provider } = await import(`${packages}/node_modules/oidc-provider/lib/index.js`);

const ttl = (name) => [name, 600];
const provider = new Provider(issuer, {
  jwks: JSON.parse(readFileSync(keys, 'utf8')),
  clients: [
    {
      client_id: 'crawler',
      client_secret: 'secret of the crawler',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    },
    {
      client_id: 'browser',
      client_secret: 'secret of the browser',
      redirect_uris: ['https://app.example/done'],
    },
  ],
  clientDefaults: { id_token_signed_response_alg: algorithm },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'] },
  cookies: { keys: ['signs the cookies'] },
  ttl: Object.fromEntries(
    ['AccessToken', 'ClientCredentials', 'Grant', 'IdToken', 'Interaction', 'Session'].map(ttl),
  ),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'https://plumbline.example/',
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'documents',
        audience: 'plumbline',
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: algorithm } },
      }),
    },
  },
  conformIdTokenClaims: false,
  claims: { openid: ['sub', 'groups', 'org'] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, groups: ['engineers'], org: { tenant: 'acme', roles: ['reader'] } }),
  }),
  extraTokenClaims: (_, token) => ({
    groups: token.accountId ? ['engineers'] : [],
    org: { tenant: 'acme', roles: [token.accountId ? 'reader' : 'writer'] },
  }),
});
provider.listen(new URL(issuer).port, '127.0.0.1', () => console.log('listening'));
