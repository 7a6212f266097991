//! The plugin as a gateway runs it: as a child process in the sandbox of plugins.

use std::path::Path;
use std::sync::Arc;

use weir_actors::plugin::{Loader, NoHooks, PluginSpec, Question, Role};
use weir_actors::process::Program;
use weir_actors::sandbox::{Sandbox, SandboxConfig};
use weir_actors::supervisor::{Runtime, SupervisorSpec};
use weir_actors::transport::SubprocessTransport;
use weir_actors::upstream::http::HttpClientConfig;
use weir_plugin_protocol::UserPrincipal;

#[actix_rt::test]
async fn the_roster_decides_for_a_gateway() {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("roster-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("roster.json"), r#"{"developer":["github"]}"#).unwrap();

    let exec = Path::new(env!("CARGO_BIN_EXE_weir-plugin-roster"));
    let mut program = Program::new("policy", exec, Sandbox::plugin(SandboxConfig::default()));
    program.args = vec!["roster.json".into()];
    program.workdir = Some(folder);
    let transport = SubprocessTransport::new(program, HttpClientConfig::default());

    let group = SupervisorSpec::dynamic("plugins")
        .start(Runtime::silent(1))
        .unwrap();
    group.ready().await;
    let loader = Loader::new(group.clone(), Arc::default(), Arc::new(NoHooks));
    let spec = PluginSpec::new("policy", Arc::new(transport)).role(Role::PolicyEvaluator);
    loader.load(spec).await.unwrap();

    let policy = loader.registry().policy_evaluator().unwrap();
    let decide = async |principal: &UserPrincipal, mcp_server| {
        let question = Question {
            principal,
            mcp_server,
            detail: None,
        };
        policy.check_access(question).await.unwrap()
    };
    let mut alice = UserPrincipal::named("alice");
    assert!(!decide(&alice, "github").await.allowed);
    alice.roles.push("developer".to_owned());
    assert!(decide(&alice, "github").await.allowed);
    let denied = decide(&alice, "payroll").await;
    assert!(!denied.allowed);
    assert_eq!(denied.reason, "no role of the caller may use payroll");

    loader.unload_all().await.unwrap();
    group.shutdown().await;
}
