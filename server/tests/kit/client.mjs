// The official TypeScript client, driven by a plan on standard input; prints what it got as one JSON object.
// The plan and the report are those of client.py.
import { Client, SSEClientTransport, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

function reach(plan) {
  if (plan.transport === 'stdio') {
    const [command, ...args] = plan.command;
    return new StdioClientTransport({ command, args });
  }
  const Transport = plan.transport === 'sse' ? SSEClientTransport : StreamableHTTPClientTransport;
  return new Transport(new URL(plan.url), { requestInit: { headers: plan.headers ?? {} } });
}

async function every(listPage, kind) {
  const items = [];
  let cursor;
  do {
    const page = await listPage(cursor === undefined ? {} : { cursor });
    items.push(...page[kind]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return items;
}

const firstText = (blocks) => blocks.find((block) => block.text !== undefined)?.text;

async function run(plan, client) {
  const report = { version: client.getNegotiatedProtocolVersion(), texts: {} };
  report.tools = (await every((page) => client.listTools(page), 'tools')).map((tool) => tool.name);
  for (const [name, args] of plan.calls ?? []) {
    const result = await client.callTool({ name, arguments: args });
    report.texts[name] = firstText(result.content);
  }
  if (plan.read !== undefined) {
    report.resources = (await every((page) => client.listResources(page), 'resources')).map((resource) => resource.uri);
    report.read = (await client.readResource({ uri: plan.read })).contents[0].text;
  }
  if (plan.prompt !== undefined) {
    report.prompts = (await every((page) => client.listPrompts(page), 'prompts')).map((prompt) => prompt.name);
    const [name, args] = plan.prompt;
    const { messages } = await client.getPrompt({ name, arguments: args });
    report.prompt = firstText(messages.map((message) => message.content));
  }
  if (plan.unknown !== undefined) {
    try {
      const result = await client.callTool({ name: plan.unknown, arguments: {} });
      report.unknown = { is_error: result.isError, message: firstText(result.content) };
    } catch (error) {
      report.unknown = { code: error.code, message: error.message };
    }
  }
  return report;
}

let text = '';
for await (const chunk of process.stdin) text += chunk;
const plan = JSON.parse(text);
const mode = ['auto', 'legacy'].includes(plan.mode) ? plan.mode : { pin: plan.mode };
const client = new Client({ name: 'weir-tests', version: '1' }, { versionNegotiation: { mode } });
await client.connect(reach(plan));
const report = await run(plan, client);
await client.close();
console.log(JSON.stringify(report));
process.exit(0);
