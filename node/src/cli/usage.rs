//! What `skyclaw` prints when it is asked for help.

use std::fmt::Write as _;

use crate::config::SETTINGS;

const COMMANDS: &str = "\
Usage: skyclaw <command> [args...]

Commands:
  submit [options] [--] COMMAND [ARG...]  submit a shell job, and wait for it if asked to
  agent [options]                         give an OpenClaw agent something to do: --message TEXT
  job ID [--wait] [--save DIR]            show a job with its output, save its files
  jobs [--status S] [--limit N]           list jobs
  why [job|service|host|route] ID         say why a job waits, a service or a host does not run
  cancel ID                               end a job
  receipt ID                              print a host's signed word of a job's run, to be kept
  verify FILE [--job FILE|ID] [--host P]  check such a receipt, without asking anybody
  deploy DIR [options] -- COMMAND [ARG...]  bring code to hosts and run it there, as a service
  services                                list services
  service NAME                            show a service with its instances
  scale NAME N                            change how many instances there are
  logs NAME [-f] [--tail N]               show what a service says
  remove NAME                             end a service everywhere
  hosts                                   list hosts
  top [--once]                            show jobs, hosts and services as they change
  doctor                                  say what is wrong, and what to do
  peers                                   list the nodes found, and those refused
  peers forget URL                        an original coordinator is gone for good
  network create NAME                     make a network whose members come by tickets
  network members                         list its members
  network revoke PEER|SERIAL              take membership, or a ticket, away
  invite [--role R] [--expires T]         print a ticket for another machine
  join TICKET                             join a network with it
  keys                                    list the keys of the API
  keys create NAME --scope S [options]    make a key, and show it once
  keys revoke NAME                        refuse a key from now on
  mcp [--allow-path DIR]                  serve these commands to an agent, over MCP
  import PATH [--dry-run] [--no-wait]     take over the database of an original coordinator
  completions bash|zsh|fish               print what lets a shell complete this
  man [DIR]                               print the man page, or write that of each command

  enqueue-shell COMMAND [ARG...]          submit a shell job, print its id
  enqueue-openclaw [ARG...]               submit an openclaw job, print its id
  deploy-service NAME COMMAND [ARG...]    deploy a service, print its id
  list-services                           print all services as JSON

  coordinator | host | gateway [options]  start skyclaw-node in that role

All of the first group take --json, --coordinator-url URL and --config FILE; `skyclaw <command>
--help` shows all options.
";

/// Usage and the list of variables.
pub(super) fn text() -> String {
    let mut text = COMMANDS.to_owned();
    text.push_str("\nEnvironment:\n");
    for setting in SETTINGS {
        let default = setting.fallback.words();
        let default = default.map_or_else(String::new, |default| format!(" [{default}]"));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:39} {}{default}", setting.env, setting.doc);
    }
    text
}
