//! A real editor, without its window.

use std::fs;
use std::process::Command;

/// Opens a model in Neovim and writes down what it is told by the server. Written for 0.7, which has no hints of its own.
const SCRIPT: &str = r#"
local out = {}
local function note(text) vim.list_extend(out, vim.split(text, '\n')) end
local function talk()
  local id = vim.lsp.start_client({ name = 'svertka', cmd = { vim.env.SVERTKA, 'lsp' }, root_dir = vim.fn.getcwd() })
  vim.lsp.buf_attach_client(0, id)
  assert(vim.wait(60000, function() return vim.lsp.buf_is_attached(0, id) and #vim.diagnostic.get(0) > 0 end))
  local document = { uri = vim.uri_from_bufnr(0) }
  local function ask(method, params)
    params.textDocument = document
    return vim.lsp.buf_request_sync(0, method, params, 60000)[id].result
  end
  note(ask('textDocument/hover', { position = { line = 2, character = 14 } }).contents.value)
  local range = { start = { line = 0, character = 0 }, ['end'] = { line = 9, character = 0 } }
  for _, hint in ipairs(ask('textDocument/inlayHint', { range = range })) do
    note('hint ' .. hint.position.character .. ': ' .. hint.label)
  end
  for _, found in ipairs(vim.diagnostic.get(0)) do note('line ' .. found.lnum .. ': ' .. found.message) end
end
local ok, why = pcall(talk)
if not ok then note(tostring(why)) end
vim.fn.writefile(out, 'out.txt')
vim.cmd('qa!')
"#;

#[test]
#[cfg_attr(not(tool = "nvim"), ignore = "needs Neovim")]
fn a_model_in_neovim() {
    let folder = tempfile::tempdir().unwrap();
    let model =
        "model m\ninput image: f32[N, 3, 32, 32]\nnet { conv1: conv 3x3, 8 | relu | maxpool 2x2 | convv 1x1, 4 }\n";
    fs::write(folder.path().join("net.cnn"), model).unwrap();
    fs::write(folder.path().join("script.lua"), SCRIPT).unwrap();
    let status = Command::new("nvim")
        .args(["--headless", "-u", "NONE", "-n", "-i", "NONE", "net.cnn", "-c", "luafile script.lua"])
        .current_dir(folder.path())
        .env("SVERTKA", env!("CARGO_BIN_EXE_svertka"))
        .env("HOME", folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    insta::assert_snapshot!(fs::read_to_string(folder.path().join("out.txt")).unwrap());
}
