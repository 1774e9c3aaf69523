//! The language server: `svertka lsp`.
//!
//! The server's own thread keeps the texts that are open and answers; another one reads and builds them, a third lays them
//! out (`worker`), and both are told to stop when a text changes. An answer is always about the text as it is: a request waits for what it needs, and
//! is refused as outdated if the text changes meanwhile.
//!
//! | file | concern |
//! | --- | --- |
//! | `server` | the loop, and which request is answered by whom |
//! | `documents`, `position` | texts, their names, and places in them |
//! | `analysis`, `worker` | what is known of a text, and the threads that find out |
//! | `zoo` | files that are in no folder of the user's |
//! | `view` | what a request looks at |
//! | `context` | what is being written at the cursor |
//! | `requests` | one file a request |

mod analysis;
mod context;
mod documents;
mod position;
mod requests;
mod server;
mod view;
mod worker;
mod zoo;

pub use server::{capabilities, serve};
