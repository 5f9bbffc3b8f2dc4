//! A real `PostgreSQL` for tests, from Debian's package `postgresql`: started once per test process and shared, a database
//! for each test. A supervising shell (`postgres.sh`) owns server and folder; it ends both when this process ends, however
//! it does. Used by the unit tests of the store and by `tests/it`.

use super::ports::free_port;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

const SCRIPT: &str = include_str!("postgres.sh");
/// Who owns the server's databases. Nobody needs a password.
const OWNER: &str = "keygate";
/// What would lead its programs elsewhere.
const ENVIRONMENT: [&str; 9] = [
    "PGDATA",
    "PGDATABASE",
    "PGHOST",
    "PGHOSTADDR",
    "PGOPTIONS",
    "PGPASSWORD",
    "PGPORT",
    "PGSERVICE",
    "PGUSER",
];

/// What must still be there after the machine has lost its power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Nothing; commits are fast.
    None,
    /// Every commit.
    Commits,
}

/// A running server. Stopped and removed when dropped, or when this process ends.
pub(crate) struct Postgres {
    shell: Mutex<Shell>,
    port: u16,
    /// The client.
    psql: PathBuf,
    /// What it keeps, its log and its socket; of the user that it runs as.
    pub(crate) folder: PathBuf,
}

struct Shell {
    child: Child,
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Postgres {
    /// The server that all tests of this process share; it is never stopped while they run.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Postgres>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(|| Self::start(Durability::None)))
    }

    /// A server of the caller's own.
    pub(crate) fn start(durability: Durability) -> Arc<Self> {
        let mut fault = String::new();
        for _ in 0..5 {
            match Self::try_start(durability, free_port()) {
                Ok(server) => return Arc::new(server),
                // The port may have been taken meanwhile.
                Err(told) => fault = told,
            }
        }
        panic!("PostgreSQL (Debian package postgresql): {fault}");
    }

    fn try_start(durability: Durability, port: u16) -> Result<Self, String> {
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "postgres.sh"])
            .arg(port.to_string())
            .arg(match durability {
                Durability::None => "off",
                Durability::Commits => "on",
            })
            .arg(OWNER)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal is for us; the shell hears of our end, and stops the server first.
            .process_group(0);
        if let Some((user, group)) = unprivileged() {
            command.uid(user).gid(group);
        }
        let mut child = without_environment(&mut command)
            .spawn()
            .map_err(|fault| fault.to_string())?;
        let orders = child.stdin.take();
        let replies = child.stdout.take().ok_or("no standard output")?;
        let mut shell = Shell {
            child,
            orders,
            replies: BufReader::new(replies),
        };
        let psql = shell.reply()?.into();
        let folder = shell.reply()?.into();
        shell.reply()?;
        Ok(Self {
            shell: Mutex::new(shell),
            port,
            psql,
            folder,
        })
    }

    /// An empty database, removed when dropped.
    pub(crate) fn database(self: &Arc<Self>) -> Database {
        self.database_with("")
    }

    /// As [`Postgres::database`], with more words for `CREATE DATABASE`.
    pub(crate) fn database_with(self: &Arc<Self>, more: &str) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} {more}"));
        Database {
            server: Arc::clone(self),
            name,
        }
    }

    /// Runs a statement; the rows, columns separated by `|`.
    pub(crate) fn sql(&self, database: &str, statement: &str) -> String {
        let done = self.psql(database, statement);
        done.unwrap_or_else(|fault| panic!("{statement}: {fault}"))
    }

    fn psql(&self, database: &str, statement: &str) -> Result<String, String> {
        let mut command = Command::new(&self.psql);
        command
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"])
            .args(["-U", OWNER, "-d", database, "-c", statement])
            .args(["-p", &self.port.to_string()])
            .stdin(Stdio::null());
        let output = without_environment(&mut command)
            .output()
            .map_err(|fault| fault.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Stops it; whoever is connected is cut off.
    pub(crate) fn stop(&self) {
        self.order("stop");
    }

    /// Ends it as a crash does: it has to recover when it starts.
    pub(crate) fn crash(&self) {
        self.order("crash");
    }

    /// Starts it again, with the same port.
    pub(crate) fn start_again(&self) {
        self.order("start");
    }

    fn order(&self, order: &str) {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(shell.orders.as_ref().unwrap(), "{order}").unwrap();
        let reply = shell.reply();
        reply.unwrap_or_else(|fault| panic!("PostgreSQL, {order}: {fault}"));
    }
}

impl Shell {
    /// One line; those that begin with an exclamation mark, and the end, are faults.
    fn reply(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let end = self.replies.read_line(&mut line);
        match (end, line.trim_end().strip_prefix('!')) {
            (Err(fault), _) => Err(fault.to_string()),
            (Ok(0), _) => Err("the shell that watches it has ended".into()),
            (Ok(_), Some(fault)) => Err(fault.to_owned()),
            (Ok(_), None) => Ok(line.trim_end().to_owned()),
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The end of its orders is the shell's last order.
        self.orders.take();
        let _ = self.child.wait();
    }
}

/// A database of one test.
pub(crate) struct Database {
    /// Where it is.
    pub(crate) server: Arc<Postgres>,
    name: String,
}

impl Database {
    /// The URL to connect to.
    pub(crate) fn url(&self) -> String {
        let (port, name) = (self.server.port, &self.name);
        format!("postgres://{OWNER}@127.0.0.1:{port}/{name}")
    }

    /// Runs a statement; the rows, columns separated by `|`.
    pub(crate) fn sql(&self, statement: &str) -> String {
        self.server.sql(&self.name, statement)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        // The server may be stopped; then it goes with the folder.
        let _ = self.server.psql("postgres", &drop);
    }
}

fn without_environment(command: &mut Command) -> &mut Command {
    for name in ENVIRONMENT {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C")
}

/// Whom the server runs as when we are root, which it refuses to run as.
fn unprivileged() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let mut fields = users
            .lines()
            .map(|line| line.split(':'))
            .find(|fields| fields.clone().next() == Some(name))?
            .skip(2)
            .map_while(|field| field.parse().ok());
        Some((fields.next()?, fields.next()?))
    };
    find("postgres").or_else(|| find("nobody"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_is_there_after_a_stop_and_after_a_crash() {
        let server = Postgres::start(Durability::Commits);
        let database = server.database();
        assert!(database.url().ends_with("/test_1") || database.url().contains("/test_"));
        database.sql("CREATE TABLE t (n BIGINT)");
        for end in [Postgres::stop, Postgres::crash] {
            database.sql("INSERT INTO t VALUES (1)");
            end(&server);
            assert!(server.psql("postgres", "SELECT 1").is_err());
            server.start_again();
        }
        assert_eq!(database.sql("SELECT SUM(n), COUNT(*) FROM t"), "2|2");
    }

    #[test]
    fn nothing_is_left_behind() {
        let server = Postgres::start(Durability::None);
        let folder = server.folder.clone();
        let file = fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
        let process = PathBuf::from("/proc").join(file.lines().next().unwrap());
        assert!(process.exists());
        drop(server);
        assert!(!process.exists(), "the server still runs");
        assert!(!folder.exists(), "its folder is still there");
    }

    #[test]
    fn databases_are_apart_and_go_with_their_test() {
        let server = Postgres::shared();
        let (one, other) = (server.database(), server.database_with("ENCODING 'UTF8'"));
        one.sql("CREATE TABLE t (n BIGINT)");
        let tables = "SELECT COUNT(*) FROM pg_tables WHERE tablename = 't'";
        assert_eq!(
            (one.sql(tables), other.sql(tables)),
            ("1".into(), "0".into())
        );
        let name = one.name.clone();
        drop(one);
        let left = format!("SELECT COUNT(*) FROM pg_database WHERE datname = '{name}'");
        assert_eq!(server.sql("postgres", &left), "0");
    }
}
