// An agent by a client from npm: it finds, fetches and cites, and prints what it saw as JSON.
// node mcp_client.mjs PACKAGES client|sdk URL KEY   (by HTTP)
// node mcp_client.mjs PACKAGES client|sdk -- COMMAND ARGUMENT…   (by standard streams)
// PACKAGES has node_modules with @modelcontextprotocol/client and @modelcontextprotocol/sdk.
const [packages, name, ...target] = process.argv.slice(2);
const folder = `${packages}/node_modules/@modelcontextprotocol`;

const { Client, ByHttp, ByStreams } = await {
  async client() {
    const main = await import(`${folder}/client/dist/index.mjs`);
    const { StdioClientTransport } = await import(`${folder}/client/dist/stdio.mjs`);
    return { ...main, ByHttp: main.StreamableHTTPClientTransport, ByStreams: StdioClientTransport };
  },
  async sdk() {
    const dist = `${folder}/sdk/dist/esm/client`;
    const main = await import(`${dist}/index.js`);
    const { StreamableHTTPClientTransport } = await import(`${dist}/streamableHttp.js`);
    const { StdioClientTransport } = await import(`${dist}/stdio.js`);
    return { ...main, ByHttp: StreamableHTTPClientTransport, ByStreams: StdioClientTransport };
  },
}[name]();

const transport =
  target[0] === '--'
    ? new ByStreams({ command: target[1], args: target.slice(2), env: process.env })
    : new ByHttp(new URL(target[0]), {
        requestInit: { headers: { Authorization: `Bearer ${target[1]}` } },
      });
const client = new Client({ name: 'agent', version: '1' });
await client.connect(transport);

const call = (tool, args, options) => client.callTool({ name: tool, arguments: args }, options);
const question = { query: 'When does the depot close on Fridays?' };
const tools = (await client.listTools()).tools.map((tool) => tool.name);
const found = await call('search', question);
const [best] = found.structuredContent.results;
const fetched = await call('fetch', { id: best.id });
const answer = await call('answer', question);
const wrong = await call('search', { ...question, limit: 3 });
const { resources } = await client.listResources();
const { contents } = await client.readResource({ uri: `plumbline://documents/${best.id}` });

console.log(JSON.stringify({ tools, found, fetched, answer, wrong, resources, contents }));
await client.close();
