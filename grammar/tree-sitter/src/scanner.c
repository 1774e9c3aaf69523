// Says where a newline ends a line: where the grammar has a place for its end, and the next line that is not empty does
// not begin with `|`. Within parentheses and lists, and behind commas, the grammar has none.

#include <tree_sitter/parser.h>

enum Token { NEWLINE };

void *tree_sitter_svertka_external_scanner_create(void) { return NULL; }
void tree_sitter_svertka_external_scanner_destroy(void *scanner) { (void)scanner; }
unsigned tree_sitter_svertka_external_scanner_serialize(void *scanner, char *buffer) {
  (void)scanner, (void)buffer;
  return 0;
}
void tree_sitter_svertka_external_scanner_deserialize(void *scanner, const char *buffer, unsigned length) {
  (void)scanner, (void)buffer, (void)length;
}

static bool is_blank(int32_t c) { return c == ' ' || c == '\t' || c == '\r'; }

bool tree_sitter_svertka_external_scanner_scan(void *scanner, TSLexer *lexer, const bool *valid) {
  (void)scanner;
  if (!valid[NEWLINE]) return false;
  while (is_blank(lexer->lookahead)) lexer->advance(lexer, true);
  if (lexer->lookahead != '\n') return false;
  lexer->advance(lexer, false);
  lexer->mark_end(lexer);
  lexer->result_symbol = NEWLINE;
  for (;;) {
    while (is_blank(lexer->lookahead) || lexer->lookahead == '\n') lexer->advance(lexer, false);
    if (lexer->lookahead != '#') return lexer->lookahead != '|';
    while (lexer->lookahead != '\n' && !lexer->eof(lexer)) lexer->advance(lexer, false);
    if (lexer->eof(lexer)) return true;
  }
}
