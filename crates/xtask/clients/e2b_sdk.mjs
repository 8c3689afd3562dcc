// The SDKs of E2B for JavaScript: what is different on the wire from those for Python, and the rest once.

import { Sandbox } from '@e2b/code-interpreter'

function checked(condition, what) {
  if (!condition) throw new Error(`failed: ${what}`)
  console.log(`ok: ${what}`)
}

async function raises(name, what, act) {
  try {
    await act()
  } catch (error) {
    return checked(error.name === name, `${what}: ${error.name}`)
  }
  throw new Error(`failed: ${what}: nothing was thrown`)
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const sandbox = await Sandbox.create({ timeoutMs: 120_000, metadata: { js: '1' } })
checked((await sandbox.runCode('x = 41; x + 1')).text === '42', 'runCode')
checked((await sandbox.runCode('x')).text === '41', 'variables stay')
checked((await sandbox.runCode('1 / 0')).error.name === 'ZeroDivisionError', 'an exception')
const context = await sandbox.createCodeContext({ cwd: '/tmp' })
checked((await sandbox.runCode('import os; os.getcwd()', { context })).text === '/tmp', 'a context')
checked((await sandbox.commands.run('pwd')).stdout === '/home/user\n', 'commands.run')
await raises('CommandExitError', 'an exit code', () => sandbox.commands.run('exit 3'))
const cat = await sandbox.commands.run('cat', { background: true, stdin: true })
await sandbox.commands.sendStdin(cat.pid, 'abc')
await sandbox.commands.closeStdin(cat.pid)
checked((await cat.wait()).stdout === 'abc', 'sendStdin, closeStdin')
const endless = await sandbox.commands.run('sleep 1000', { background: true })
checked(await endless.kill(), 'kill')
await sandbox.files.write('a.txt', 'hello')
checked((await sandbox.files.read('a.txt')) === 'hello', 'files')
checked((await sandbox.files.list('.')).some((one) => one.name === 'a.txt'), 'list')
await raises('FileNotFoundError', 'a file that is not there', () => sandbox.files.read('nope'))
const events = []
const watch = await sandbox.files.watchDir('/home/user', (event) => events.push(`${event.type} ${event.name}`))
await sandbox.files.write('w.txt', '1')
await pause(500)
await watch.stop()
checked(events.includes('create w.txt') && events.includes('write w.txt'), 'watchDir')
let seen = ''
const terminal = await sandbox.pty.create({ cols: 80, rows: 24, onData: (data) => { seen += new TextDecoder().decode(data) } })
await sandbox.pty.sendInput(terminal.pid, new TextEncoder().encode('echo $TERM; exit\n'))
await terminal.wait()
checked(seen.includes('xterm-256color'), 'a terminal')
checked((await Sandbox.list({ query: { metadata: { js: '1' } } }).nextItems()).length === 1, 'list of sandboxes')
checked((await (await Sandbox.connect(sandbox.sandboxId)).runCode('x')).text === '41', 'connect')
checked((await sandbox.kill()) && !(await sandbox.isRunning()), 'kill of the sandbox')
