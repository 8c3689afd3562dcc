// OpenAI's SDK for JavaScript: what is different on the wire from that for Python, and the rest once.

import OpenAI, { toFile } from 'openai'

function checked(condition, what) {
  if (!condition) throw new Error(`failed: ${what}`)
  console.log(`ok: ${what}`)
}

async function raises(kind, what, act) {
  try {
    await act()
  } catch (error) {
    checked(error instanceof kind, `${what}: ${error.constructor.name}`)
    return error
  }
  throw new Error(`failed: ${what}: nothing was thrown`)
}

const client = new OpenAI({ maxRetries: 0 })
const made = await client.containers.create({ name: 'js' })
checked(made.id.startsWith('cntr_') && made.object === 'container', 'containers.create')
const listed = []
for await (const one of client.containers.list({ limit: 1 })) listed.push(one.id)
checked(listed.includes(made.id), 'containers.list')
const file = await client.containers.files.create(made.id, { file: await toFile(Buffer.from('hello'), 'a.txt') })
checked(file.path === '/mnt/data/a.txt' && file.bytes === 5, 'files.create')
const content = await client.containers.files.content.retrieve(file.id, { container_id: made.id })
checked((await content.text()) === 'hello', 'files.content.retrieve')
const names = []
for await (const one of client.containers.files.list(made.id)) names.push(one.path)
checked(names.join() === '/mnt/data/a.txt', 'files.list')
await raises(OpenAI.NotFoundError, 'a file of OpenAI', () => client.containers.files.create(made.id, { file_id: 'file-1' }))
await client.containers.files.delete(file.id, { container_id: made.id })
const missing = () => client.containers.files.retrieve(file.id, { container_id: made.id })
checked((await raises(OpenAI.NotFoundError, 'files.delete', missing)).code === 'file_not_found', 'the code of the error')
const wider = { type: 'allowlist', allowed_domains: ['example.com'] }
await raises(OpenAI.BadRequestError, 'more network', () => client.containers.create({ name: 'x', network_policy: wider }))
await client.containers.delete(made.id)
await raises(OpenAI.NotFoundError, 'containers.delete', () => client.containers.retrieve(made.id))
const wrong = new OpenAI({ apiKey: 'cm_wrong', maxRetries: 0 })
await raises(OpenAI.AuthenticationError, 'a wrong key', () => wrong.containers.list())
