//! What names mean. Data: a finding names an entry.

use casemate_model::Capability::{
    self, DynamicExecution, Environment, FileSystem, NativeCode, Network, Obfuscation, Processes,
};

/// Modules and functions of Python, by the name with which they are imported; what is below one means the same.
pub(crate) const PYTHON: &[(&str, Capability)] = &[
    ("aiohttp", Network),
    ("asyncio.create_subprocess_exec", Processes),
    ("asyncio.create_subprocess_shell", Processes),
    ("asyncio.open_connection", Network),
    ("asyncio.start_server", Network),
    ("boto3", Network),
    ("builtins.compile", DynamicExecution),
    ("builtins.eval", DynamicExecution),
    ("builtins.exec", DynamicExecution),
    ("cffi", NativeCode),
    ("code.InteractiveInterpreter", DynamicExecution),
    ("concurrent.futures.ProcessPoolExecutor", Processes),
    ("ctypes", NativeCode),
    ("_ctypes", NativeCode),
    ("ftplib", Network),
    ("grpc", Network),
    ("http.client", Network),
    ("http.server", Network),
    ("httpx", Network),
    ("imaplib", Network),
    ("importlib.import_module", DynamicExecution),
    ("importlib.machinery.ExtensionFileLoader", NativeCode),
    ("marshal.load", Obfuscation),
    ("marshal.loads", Obfuscation),
    ("multiprocessing", Processes),
    ("os.environ", Environment),
    ("os.environb", Environment),
    ("os.execl", Processes),
    ("os.execle", Processes),
    ("os.execlp", Processes),
    ("os.execv", Processes),
    ("os.execve", Processes),
    ("os.execvp", Processes),
    ("os.execvpe", Processes),
    ("os.fork", Processes),
    ("os.forkpty", Processes),
    ("os.getenv", Environment),
    ("os.kill", Processes),
    ("os.killpg", Processes),
    ("os.popen", Processes),
    ("os.posix_spawn", Processes),
    ("os.posix_spawnp", Processes),
    ("os.putenv", Environment),
    ("os.spawnl", Processes),
    ("os.spawnv", Processes),
    ("os.spawnve", Processes),
    ("os.system", Processes),
    ("os.unsetenv", Environment),
    ("paramiko", Network),
    ("pickle.load", DynamicExecution),
    ("pickle.loads", DynamicExecution),
    ("poplib", Network),
    ("pty", Processes),
    ("requests", Network),
    ("runpy", DynamicExecution),
    ("smtplib", Network),
    ("socket", Network),
    ("socketserver", Network),
    ("ssl", Network),
    ("subprocess", Processes),
    ("telnetlib", Network),
    ("types.CodeType", DynamicExecution),
    ("types.FunctionType", DynamicExecution),
    ("urllib.request", Network),
    ("urllib3", Network),
    ("websocket", Network),
    ("websockets", Network),
    ("xmlrpc", Network),
    ("zlib.decompress", Obfuscation),
];

/// Names that are there without an import.
pub(crate) const BUILTINS: &[(&str, Capability)] = &[
    ("__builtins__", DynamicExecution),
    ("__import__", DynamicExecution),
    ("__subclasses__", DynamicExecution),
    ("compile", DynamicExecution),
    ("eval", DynamicExecution),
    ("exec", DynamicExecution),
];

/// What turns text or bytes into others: hides something when what it gives is executed.
pub(crate) const DECODERS: &[&str] = &[
    "base64", "binascii", "bz2", "codecs", "lzma", "zlib", "fromhex", "rot13", "rot_13", "gzip",
];

/// Commands of shells.
pub(crate) const SHELL: &[(&str, Capability)] = &[
    ("as", NativeCode),
    ("cc", NativeCode),
    ("curl", Network),
    ("env", Environment),
    ("eval", DynamicExecution),
    ("export", Environment),
    ("ftp", Network),
    ("g++", NativeCode),
    ("gcc", NativeCode),
    ("kill", Processes),
    ("killall", Processes),
    ("ld", NativeCode),
    ("nc", Network),
    ("ncat", Network),
    ("nohup", Processes),
    ("perl", DynamicExecution),
    ("ping", Network),
    ("pkill", Processes),
    ("printenv", Environment),
    ("python", DynamicExecution),
    ("python3", DynamicExecution),
    ("rustc", NativeCode),
    ("scp", Network),
    ("setsid", Processes),
    ("socat", Network),
    ("source", DynamicExecution),
    ("ssh", Network),
    ("telnet", Network),
    ("wget", Network),
    ("/dev/tcp", Network),
    ("/dev/udp", Network),
];

/// Where files are that are not a program's own. What is in text is compared with these beginnings.
pub(crate) const OUTSIDE: &[&str] = &[
    "/boot", "/dev/mem", "/etc", "/home", "/lib", "/opt", "/proc", "/root", "/run", "/sys", "/usr",
    "/var", "~",
];

/// Below those, what is a program's own after all.
pub(crate) const INSIDE: &[&str] = &["/home/user", "/var/tmp", "/proc/self/fd"];

/// The entry of [`OUTSIDE`] that a path is below, as it is written or as it is resolved.
pub(crate) fn outside(path: &str) -> Option<(&'static str, Capability)> {
    as_written(path).or_else(|| as_written(&resolved(path.strip_prefix('/')?)))
}

/// An absolute path, given without its first slash, without empty parts and dots.
fn resolved(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn as_written(path: &str) -> Option<(&'static str, Capability)> {
    let below = |path: &str, above: &str| {
        let rest = path.strip_prefix(above);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if INSIDE.iter().any(|inside| below(path, inside)) && !path.contains("..") {
        return None;
    }
    OUTSIDE
        .iter()
        .find(|outside| below(path, outside))
        .map(|outside| (*outside, FileSystem))
}
