//! From the command line to a verb, and from its result to an exit code.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, LogForm, ServeArgs, Verb};
use crate::config::Config;
use crate::exit::{Exit, advise, complain};
use crate::settings_file::{SECRETS, SettingsError, SettingsFile};
use crate::{build_info, inspect, load, print_config, repair, server, settings_file, verb, verify};

/// Runs the command with these arguments, the program's name first, and gives its exit code: 0 done, 1 failed,
/// 2 wrong usage, 3 no such key, 4 damaged data, 5 data in use.
///
/// Installs the process's log subscriber; call it once, from `main`.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let (cli, matches, file) = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(ParseError::File(error)) => {
            complain!("kyro-http: {}", kyro_engine::describe(&error));
            return Exit::Usage.into();
        }
        Err(ParseError::Arguments(error)) => {
            // Help and version are no errors; clap knows which stream each goes to.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return if error.print().is_ok() { exit.into() } else { Exit::Failed.into() };
        }
    };
    let url = matches.subcommand().and_then(|(_, verb)| verb.try_get_one::<String>("url").ok().flatten());
    if url.is_some() && named_on_command_line(&matches, "data_dir") {
        complain!("kyro-http: --url and --data-dir cannot both be given: a server, or a directory");
        return Exit::Usage.into();
    }
    start_log(cli.log);
    warn_of_visible_tokens(&matches);
    match cli.verb {
        Verb::Serve(arguments) if arguments.print_config => {
            let serve = matches.subcommand_matches(settings_file::VERB).unwrap_or(&matches);
            let text = print_config::text(&Cli::command(), serve, &file);
            let written = std::io::stdout().write_all(text.as_bytes());
            match Config::new(cli.data_dir, &arguments) {
                Ok(_) if written.is_ok() => Exit::Done.into(),
                Ok(_) => Exit::Failed.into(),
                Err(error) => {
                    complain!("kyro-http: {}", kyro_engine::describe(&error));
                    Exit::Usage.into()
                }
            }
        }
        Verb::Serve(arguments) => serve(cli.data_dir, &arguments).into(),
        Verb::Load(arguments) => load::run(cli.data_dir, &arguments).into(),
        Verb::Verify(arguments) => verify::run(cli.data_dir, &arguments).into(),
        Verb::Inspect(arguments) => inspect::run(&arguments).into(),
        Verb::Repair(arguments) => repair::run(cli.data_dir, &arguments).into(),
        Verb::Build(arguments) => verb::build::run(cli.data_dir, &arguments).into(),
        other => over_store(other, cli.data_dir).into(),
    }
}

/// The verbs that work on a directory or a server alike, and those that need neither.
fn over_store(verb: Verb, data_dir: Option<PathBuf>) -> Exit {
    use verb::{ended, on_store};
    match verb {
        Verb::Get(arguments) => {
            on_store(data_dir, &arguments.reach, |store| verb::get::run(&arguments, store))
        }
        Verb::Put(arguments) => {
            on_store(data_dir, &arguments.reach, |store| verb::put::run(&arguments, store))
        }
        Verb::Del(arguments) => {
            on_store(data_dir, &arguments.reach, |store| verb::del::run(&arguments, store))
        }
        Verb::Scan(arguments) => {
            on_store(data_dir, &arguments.reach, |store| verb::scan::run(&arguments, store))
        }
        Verb::Dump(arguments) => {
            on_store(data_dir, &arguments.reach, |store| verb::dump::run(&arguments, store))
        }
        Verb::Backup(arguments) => {
            on_store(data_dir, &arguments.reach, |store| verb::backup::run(&arguments, store))
        }
        Verb::Compact(arguments) => {
            on_store(data_dir, &arguments.reach, |store| verb::compact::run(&arguments, store))
        }
        Verb::Stats(arguments) => {
            on_store(data_dir, &arguments.reach, |store| verb::stats::run(&arguments, store))
        }
        Verb::Push(arguments) => {
            on_store(data_dir, &arguments.reach, |store| verb::version::push(&arguments, store))
        }
        Verb::Rollback(arguments) => {
            on_store(data_dir, &arguments.reach, |store| verb::version::rollback(&arguments, store))
        }
        Verb::Versions(arguments) => {
            on_store(data_dir, &arguments.reach, |store| verb::version::versions(&arguments, store))
        }
        Verb::Prune(arguments) => {
            on_store(data_dir, &arguments.reach, |store| verb::version::prune(&arguments, store))
        }
        Verb::Restore(arguments) => {
            let backup = arguments.backup.clone();
            ended(verb::restore::run(data_dir, &arguments), |exit| advise(exit, &backup))
        }
        Verb::Healthcheck(arguments) => ended(verb::healthcheck::run(&arguments), |_| ()),
        Verb::Top(arguments) => ended(verb::top::run(&arguments), |_| ()),
        Verb::BenchClient => ended(verb::bench_client::run(), |_| ()),
        Verb::Completions(arguments) => ended(verb::completions::run(&arguments), |_| ()),
        Verb::Man(arguments) => ended(verb::man::run(&arguments), |_| ()),
        // Run by the caller.
        Verb::Serve(_)
        | Verb::Load(_)
        | Verb::Build(_)
        | Verb::Verify(_)
        | Verb::Repair(_)
        | Verb::Inspect(_) => Exit::Failed,
    }
}

/// Why there is nothing to run.
enum ParseError {
    Arguments(clap::Error),
    File(SettingsError),
}

/// Parses the arguments, and once more above the configuration file that they name.
fn parse(arguments: &[OsString]) -> Result<(Cli, ArgMatches, SettingsFile), ParseError> {
    let matches = Cli::command().try_get_matches_from(arguments).map_err(ParseError::Arguments)?;
    let serve = matches.subcommand_matches(settings_file::VERB);
    let named = serve.and_then(|serve| serve.get_one::<PathBuf>("config"));
    let (matches, file) = match named {
        Some(path) => {
            let file = SettingsFile::read(path, &Cli::command()).map_err(ParseError::File)?;
            let command = file.apply(Cli::command());
            (command.try_get_matches_from(arguments).map_err(ParseError::Arguments)?, file)
        }
        None => (matches, SettingsFile::default()),
    };
    let cli = Cli::from_arg_matches(&matches).map_err(ParseError::Arguments)?;
    Ok((cli, matches, file))
}

/// The log goes to stderr. A line that cannot be written, as where that is a file on a full disk or a pipe that nobody
/// reads any more, is lost, and the server goes on: told of it the subscriber would complain on stderr, and panic where
/// it cannot.
fn start_log(form: LogForm) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let log = log.log_internal_errors(false);
    match form {
        LogForm::Text => log.with_ansi(false).init(),
        LogForm::Json => log.json().init(),
    }
}

fn named_on_command_line(matches: &ArgMatches, id: &str) -> bool {
    let named = |matches: &ArgMatches| {
        matches!(matches.try_contains_id(id), Ok(true))
            && matches.value_source(id) == Some(ValueSource::CommandLine)
    };
    named(matches) || matches.subcommand().is_some_and(|(_, verb)| named(verb))
}

/// A flag's value stands in the process list for everyone on the machine.
fn warn_of_visible_tokens(matches: &ArgMatches) {
    for flag in SECRETS {
        if named_on_command_line(matches, flag) {
            let flag = flag.replace('_', "-");
            tracing::warn!(
                "--{flag} shows the token in the process list; the environment or --{flag}-file does not"
            );
        }
    }
}

fn serve(data_dir: Option<PathBuf>, arguments: &ServeArgs) -> Exit {
    let config = match Config::new(data_dir, arguments) {
        Ok(config) => config,
        Err(error) => {
            complain!("kyro-http: {}", kyro_engine::describe(&error));
            return Exit::Usage;
        }
    };
    let runtime = match Builder::new_current_thread().enable_all().thread_name("kyro-http-main").build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain!("kyro-http: cannot start the runtime: {error}");
            return Exit::Failed;
        }
    };
    let data_dir = config.data_dir.clone();
    let config_dir = data_dir.clone();
    let durability = config.options.durability;
    let served = runtime.block_on(async {
        let stop = stop_signal()?;
        let served = server::serve(config, stop, |address| {
            // Scripts wait for this line; a broken pipe must not end the server.
            let line = format!(
                "kyro-http {} listening on http://{address} (data {}, durability {durability:?})\n",
                build_info::VERSION,
                data_dir.display()
            );
            let mut out = std::io::stdout();
            if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
                tracing::debug!(error = %error, "nobody reads the standard output");
            }
        });
        Ok::<_, std::io::Error>(served.await)
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    match served {
        Ok(Ok(())) => Exit::Done,
        Ok(Err(error)) => {
            complain!("kyro-http: {}", kyro_engine::describe(&error));
            let exit = error.exit();
            advise(exit, &config_dir);
            exit
        }
        Err(error) => {
            complain!("kyro-http: cannot listen for signals: {error}");
            Exit::Failed
        }
    }
}

/// Signals this soon after the first are the same one.
const SAME_SIGNAL: Duration = Duration::from_millis(250);

/// Resolves at the first SIGTERM or SIGINT. A second one ends the process at once: what was acknowledged is as
/// durable as its mode promised, so nothing is lost by it. Some tools send the same signal to the process and then
/// to its group; what follows within a moment is therefore no second one.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (first, stop) = oneshot::channel();
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        if first.send(()).is_err() {
            tracing::debug!("the server has ended by itself");
        }
        // The time is waited for, and what came meanwhile put aside. A look at the clock when a signal is seen would take
        // one that came at once for a second one, where the process stood still before it saw it.
        tokio::time::sleep(SAME_SIGNAL).await;
        while has_come(&mut terminate, &mut interrupt).await {}
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("a second signal: ending at once");
        std::process::exit(Exit::Failed as i32);
    });
    Ok(async move {
        if stop.await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// Whether one of the signals is there already; takes it.
async fn has_come(one: &mut Signal, other: &mut Signal) -> bool {
    tokio::select! {
        biased;
        () = either(one, other) => true,
        () = std::future::ready(()) => false,
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
