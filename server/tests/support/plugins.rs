//! Real plugins: the two of `plugins/`, and one that does what a test asks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use weir_actors::plugin::{LifecycleHooks, Loader, PluginInfo};
use weir_actors::process::Program;
use weir_actors::sandbox::{Mode, Sandbox, SandboxConfig, SandboxRules};
use weir_actors::supervisor::{Runtime, SupervisorHandle, SupervisorSpec};

use super::kit::Kit;
use super::process::Process;

/// Longest time of one compilation in Go, the first of which compiles the standard library.
const GO_LIMIT: Duration = Duration::from_secs(300);

/// The plugin of `plugins/python-flask`.
pub(crate) fn flask(kit: &Kit) -> Program {
    python(kit, &repository("plugins/python-flask/plugin.py"))
}

/// The plugin of `tests/kit/story_plugin.py`.
pub(crate) fn story(kit: &Kit, arguments: &[&str]) -> Program {
    let mut program = python(kit, &Kit::script("story_plugin.py"));
    program.args.extend(arguments.iter().map(Into::into));
    program
}

/// The plugin of `plugins/go`, compiled once for each test program.
pub(crate) fn go(kit: &Kit) -> Program {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        let program = folder.join(format!("plugin-{}", std::process::id()));
        let mut command = Command::new(kit.python_tool("go"));
        command.args(["build", "-o"]).arg(&program).arg(".");
        command.current_dir(repository("plugins/go"));
        command.env("GOCACHE", folder.join("cache"));
        command.env("GOPATH", folder.join("path"));
        command.envs([
            ("GOTOOLCHAIN", "local"),
            ("GOPROXY", "off"),
            ("CGO_ENABLED", "0"),
        ]);
        let finished = Process::run("go", command, GO_LIMIT);
        assert!(finished.status.success(), "{}", finished.output);
        program
    });
    unconfined("go", built)
}

/// A program that may do what the test may: what sandboxes keep from plugins is told elsewhere.
pub(crate) fn unconfined(name: &str, exec: &Path) -> Program {
    let rules = SandboxRules {
        mode: Some(Mode::Off),
        ..SandboxRules::default()
    };
    Program::new(name, exec, Sandbox::plugin(SandboxConfig(rules)))
}

/// The same program as somebody else would start it.
pub(crate) fn by_hand(program: &Program, arguments: &[&str]) -> Process {
    let mut command = Command::new(&program.exec);
    command.args(&program.args).args(arguments);
    command.envs(program.env.iter().map(|(name, value)| (name, value)));
    let process = Process::start("sidecar", command);
    process.wait_line(Duration::from_secs(20), |line| {
        line.starts_with("PORT=").then_some(())
    });
    process
}

fn python(kit: &Kit, script: &Path) -> Program {
    let mut program = unconfined("python", &kit.python_program());
    program.args = vec!["-u".into(), script.into()];
    program
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A loader, its group, and what it told.
pub(crate) struct Shelf {
    pub(crate) loader: Loader,
    pub(crate) diary: Diary,
    group: SupervisorHandle,
}

/// What happened to plugins, in order.
#[derive(Clone, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<String>>>);

impl Shelf {
    pub(crate) async fn new() -> Self {
        let spec = SupervisorSpec::dynamic("plugins").quarantining();
        let group = spec.start(Runtime::silent(7)).expect("a group starts");
        group.ready().await;
        let diary = Diary::default();
        let loader = Loader::new(group.clone(), Arc::default(), Arc::new(diary.clone()));
        Self {
            loader,
            diary,
            group,
        }
    }

    pub(crate) async fn end(self) {
        self.loader.unload_all().await.expect("all are unloaded");
        self.group.shutdown().await;
    }
}

impl Diary {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("nobody panicked").clone()
    }

    /// Waits for an entry.
    pub(crate) async fn says(&self, text: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.lines().iter().any(|line| line.contains(text)) {
            assert!(
                Instant::now() < deadline,
                "no {text:?} in {:?}",
                self.lines()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn note(&self, text: String) {
        self.0.lock().expect("nobody panicked").push(text);
    }
}

impl LifecycleHooks for Diary {
    fn on_start(&self, info: &PluginInfo) {
        self.note(format!(
            "start {} {} {}",
            info.name, info.r#type, info.version
        ));
    }

    fn on_stop(&self, info: &PluginInfo, error: Option<&str>) {
        self.note(format!("stop {} {error:?}", info.name));
    }

    fn on_error(&self, info: &PluginInfo, error: &str) {
        self.note(format!("error {} {error}", info.name));
    }

    fn on_restart(&self, info: &PluginInfo, attempt: u32) {
        self.note(format!("restart {} {attempt}", info.name));
    }
}
