//! `keygate keys`: what callers present, through their whole life.

mod acts;
mod bulk;
mod create;
mod decide;
mod edit;
mod export;
mod import;
mod list;
mod rows;
mod rows_of_file;

use super::client::Place;
use super::flags::Common;
use super::output::{Cell, Column, column};
use super::resource::Resource;
use super::{Exit, Failed};
use crate::domain::id::Kind;
use clap::{Args, Subcommand};

pub(super) use list::Preview;

pub(super) const KEY: Resource = Resource {
    one: "key",
    path: "keys",
    kind: Kind::Key,
    label: "name",
    columns: &[
        column("ID", "id", Cell::Id, 0),
        column("NAME", "name", Cell::Text, 0),
        column("STATUS", "status", Cell::Status, 1),
        column("LAST USED", "last_used_at", Cell::Time, 2),
        column("EXPIRES", "expires_at", Cell::Time, 3),
        column("CONSUMER", "consumer.name", Cell::Text, 4),
        column("ENV", "environment", Cell::Status, 5),
        column("HINT", "hint", Cell::Id, 6),
    ],
};

const REVIEW: &[Column] = &[
    column("ID", "key.id", Cell::Id, 0),
    column("NAME", "key.name", Cell::Text, 0),
    column("WHY", "reasons", Cell::Text, 0),
    column("STATUS", "key.status", Cell::Status, 2),
    column("LAST USED", "key.last_used_at", Cell::Time, 1),
];

const PREVIEW: &[Column] = &[
    column("ID", "key.id", Cell::Id, 0),
    column("NAME", "key.name", Cell::Text, 0),
    column("WHAT", "policy.mode", Cell::Status, 1),
    column("WHEN", "goes_at", Cell::Time, 0),
    column("LAST USED", "key.last_used_at", Cell::Time, 2),
];

const USAGE: &[Column] = &[
    column("HOUR", "hour", Cell::Id, 0),
    column("ROUTE", "route", Cell::Text, 0),
    column("REQUESTS", "requests", Cell::Count, 0),
    column("REFUSALS", "refusals", Cell::Text, 1),
    column("2XX", "status.2xx", Cell::Count, 3),
    column("3XX", "status.3xx", Cell::Count, 5),
    column("4XX", "status.4xx", Cell::Count, 4),
    column("5XX", "status.5xx", Cell::Count, 2),
    column("BYTES IN", "bytes_in", Cell::Count, 6),
    column("BYTES OUT", "bytes_out", Cell::Count, 6),
];

#[derive(Args)]
pub(super) struct Keys {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a key; its secret is shown this once
    #[command(
        after_help = "Examples:\n  keygate keys create ci --scope billing:read --expires 90d\n  \
        keygate keys create ci --scope billing:read --consumer acme --save-to ci.key\n  \
        keygate keys create ci --scope billing:read --ip 10.0.0.0/8 --metadata plan=gold --inactivity delete:90d"
    )]
    Create(Box<create::Create>),
    /// List keys, or search by the start of any word of name, tag and hint
    #[command(
        after_help = "Examples:\n  keygate keys list\n  keygate keys list billing --status expiring\n  \
        keygate keys list --unused-since 90d --all -o name\n  keygate keys list --consumer acme --sort=-last_used_at"
    )]
    List(Box<list::List>),
    /// Show a key, by id, name or hint
    #[command(after_help = "Example:\n  keygate keys get ci")]
    Get(list::Get),
    /// Change what a key may do
    #[command(
        after_help = "Examples:\n  keygate keys edit ci --name nightly --expires 2028-01-01\n  \
        keygate keys edit ci --add-scope billing:write --remove-tag old\n  keygate keys edit ci --clear routes"
    )]
    Edit(Box<edit::Edit>),
    /// Refuse a key until it is enabled again
    #[command(
        after_help = "Example:\n  keygate keys disable ci --reason investigation --text 'odd calls at night'"
    )]
    Disable(acts::Disable),
    /// Accept a disabled key again
    #[command(after_help = "Example:\n  keygate keys enable ci")]
    Enable(acts::Target),
    /// Give a key a new secret; the old one stays good for a grace
    #[command(
        after_help = "Examples:\n  keygate keys rotate ci --grace 24h\n  keygate keys rotate ci --grace 0s --save-to ci.key"
    )]
    Rotate(acts::Rotate),
    /// End old secrets of a rotated key before their grace is over
    #[command(
        after_help = "Examples:\n  keygate keys retire ci --yes\n  keygate keys retire ci --secret 1 --yes"
    )]
    Retire(acts::Retire),
    /// End a key for good
    #[command(
        after_help = "Examples:\n  keygate keys revoke ci --reason compromised\n  keygate keys revoke ci --dry-run"
    )]
    Revoke(acts::End),
    /// Delete a key; it can be restored for 30 days
    #[command(
        after_help = "Examples:\n  keygate keys delete ci --dry-run\n  keygate keys delete ci --yes --reason unused"
    )]
    Delete(acts::End),
    /// Bring a deleted key back
    #[command(after_help = "Example:\n  keygate keys restore ci")]
    Restore(acts::Target),
    /// Count a key's inactivity from now on
    #[command(after_help = "Example:\n  keygate keys keep ci")]
    Keep(acts::Target),
    /// Give a key to another consumer
    #[command(
        after_help = "Examples:\n  keygate keys transfer ci --consumer acme\n  keygate keys transfer ci --nobody"
    )]
    Transfer(acts::Transfer),
    /// Do something with many keys
    #[command(
        after_help = "Examples:\n  keygate keys bulk disable --tag old --dry-run\n  \
        keygate keys bulk revoke --consumer acme --reason offboarding --yes\n  \
        keygate keys list --unused-since 90d --all -o name | keygate keys bulk delete --ids - --yes"
    )]
    Bulk(Box<bulk::Bulk>),
    /// Bring keys in from elsewhere, as NDJSON or CSV
    #[command(
        after_help = "Examples:\n  keygate keys import keys.ndjson --dry-run\n  keygate keys import keys.csv\n  \
        keygate keys import - --from 5001 < keys.ndjson\n\nA line of NDJSON has the fields of a key, and `hash` (blake3:… or sha256:…) or `secret`. \
        In CSV, lists are separated by spaces or semicolons, and metadata has columns such as metadata.plan. \
        So have limits (limits.rate, limits.burst) and inactivity (inactivity.mode, inactivity.after)."
    )]
    Import(import::Import),
    /// Take the metadata of keys out, as NDJSON; neither secrets nor hashes are in it
    #[command(
        after_help = "Examples:\n  keygate keys export > keys.ndjson\n  keygate keys export --consumer acme --to acme.ndjson"
    )]
    Export(Box<export::Export>),
    /// Ask whether a key is valid; exits with 0 or 7
    #[command(
        after_help = "Examples:\n  keygate keys verify < ci.key\n  keygate keys verify --key-file ci.key --route billing --method GET"
    )]
    Verify(decide::Verify),
    /// Show which rule decides about a request, and what would go upstream
    #[command(
        after_help = "Examples:\n  keygate keys explain --path /billing/invoices < ci.key\n  \
        keygate keys explain --id ci --method POST --host api.example.com --path /billing/\n  \
        keygate keys explain --no-key --path /"
    )]
    Explain(decide::Explain),
    /// Show how much a key was used, per hour and route
    #[command(
        after_help = "Examples:\n  keygate keys usage ci --since 7d\n  keygate keys usage ci --route billing --all"
    )]
    Usage(list::Usage),
    /// Show which keys should go, and why
    #[command(
        after_help = "Examples:\n  keygate keys review --all\n  keygate keys review --why never_expires"
    )]
    Review(list::Review),
    /// Show which keys inactivity will disable or delete, and when
    #[command(after_help = "Examples:\n  keygate keys preview\n  keygate keys preview --days 90")]
    Preview(Preview),
}

impl Keys {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let format = self.common.format();
        let desk = self.common.open(place)?;
        match self.verb {
            Verb::Create(create) => create.run(&desk, format),
            Verb::List(list) => list.run(&desk),
            Verb::Get(get) => get.run(&desk),
            Verb::Edit(edit) => edit.run(&desk),
            Verb::Disable(disable) => disable.run(&desk),
            Verb::Enable(target) => target.run(&desk, "enable"),
            Verb::Rotate(rotate) => rotate.run(&desk, format),
            Verb::Retire(retire) => retire.run(&desk),
            Verb::Revoke(end) => end.revoke(&desk),
            Verb::Delete(end) => end.delete(&desk),
            Verb::Restore(target) => target.restore(&desk),
            Verb::Keep(target) => target.run(&desk, "keep"),
            Verb::Transfer(transfer) => transfer.run(&desk),
            Verb::Bulk(bulk) => bulk.run(&desk),
            Verb::Import(import) => import.run(&desk),
            Verb::Export(export) => export.run(&desk),
            Verb::Verify(verify) => verify.run(&desk),
            Verb::Explain(explain) => explain.run(&desk),
            Verb::Usage(usage) => usage.run(&desk),
            Verb::Review(review) => review.run(&desk),
            Verb::Preview(preview) => preview.run(&desk),
        }
    }
}
