//! Changes of a text that take away what has no effect in it, or say that it is meant.

use super::Program;
use super::unused::{Kind, Unused};
use crate::diagnostic::{Fix, Help};
use crate::front::text::names::{DeclarationId, Names};
use crate::front::text::places::{self, Places, Projection};
use crate::front::text::syntax::ast::{Ident, ItemKind, Param};
use crate::source::{SourceMap, Span};

/// What is asked about the text for these changes.
pub struct Changes<'a> {
    sources: &'a SourceMap,
    program: &'a Program,
    names: Names,
    places: Places<'a>,
}

impl<'a> Changes<'a> {
    pub fn of(sources: &'a SourceMap, program: &'a Program) -> Changes<'a> {
        Changes { sources, program, names: Names::of(program), places: Places::of(program) }
    }

    /// What may be done about something that has no effect.
    pub fn about(&self, idle: &Unused) -> Vec<Fix> {
        let span = idle.span;
        let fixes = match idle.kind {
            Kind::Parameter => vec![self.without_parameter(span), self.kept(idle)],
            Kind::Constant | Kind::Block => vec![self.without_declared(span), self.kept(idle)],
            Kind::Value => vec![self.without_name(span), self.kept(idle)],
            Kind::Defaults => vec![self.without_item(span)],
            Kind::Allow => vec![self.without_permission(span)],
            Kind::Rename | Kind::Input => vec![self.without_item(span).map(Fix::maybe)],
            Kind::Projection => self.projection(span),
            Kind::Layer => vec![self.output(span)],
            Kind::InputAsOutput => Vec::new(),
        };
        fixes.into_iter().flatten().collect()
    }

    /// That it is meant.
    pub fn permission(&self, lint: &str) -> Help {
        places::permission(self.program, lint)
    }

    fn declared(&self, span: Span) -> Option<DeclarationId> {
        self.names.declared_at(span.file, span.range().start)
    }

    /// A name that says that it is meant to do nothing.
    fn kept(&self, idle: &Unused) -> Option<Fix> {
        let new = format!("_{}", idle.name);
        let places = self.names.places(self.declared(idle.span)?).map(|place| (place, new.clone()));
        Some(Fix::new(format!("call it `{new}`"), places).maybe())
    }

    fn without_declared(&self, name: Span) -> Option<Fix> {
        Some(self.cut(self.names.declaration(self.declared(name)?).whole).maybe())
    }

    fn without_item(&self, inside: Span) -> Option<Fix> {
        Some(self.cut(self.places.item(inside)?.span))
    }

    /// `None` where something is given for it: whoever gives it is to be changed too.
    fn without_parameter(&self, name: Span) -> Option<Fix> {
        let item = self.places.item(name)?;
        let at = |params: &[Param]| params.iter().position(|param| param.name.span == name);
        let (owner, params, head) = match &item.kind {
            ItemKind::Block(block) => (&block.name, &block.params, item.span.before().to(block.body.span.before())),
            ItemKind::Model { name, params } => (name, params, item.span),
            _ => return None,
        };
        let at = at(params)?;
        let named = self.names.places(self.declared(name)?).count() > 1;
        (!named && !self.gives(owner, at)).then_some(())?;
        let close = head.range().start + self.sources.slice(head).rfind(')')?;
        let span = match (at, params.get(at + 1)) {
            (_, Some(next)) => name.before().to(next.name.span.before()),
            (0, None) => Span::new(name.file, owner.span.range().end..close + 1),
            (_, None) => {
                let before = &self.sources.file(name.file).text[..name.range().start];
                let comma = before.trim_end().strip_suffix(',')?.trim_end().len();
                Span::new(name.file, comma..close)
            }
        };
        Some(Fix::replace("remove it", span, "").maybe())
    }

    /// Whether a call of a block, or a variant of a model, has an argument at a position.
    fn gives(&self, owner: &Ident, at: usize) -> bool {
        let calls = self.places.calls().map(|place| (&place.call.name, &place.call.args));
        let variants = self.places.items().filter_map(|item| match &item.kind {
            ItemKind::Variant { model, args, .. } => Some((model, args)),
            _ => None,
        });
        let mut given = calls.chain(variants).filter(|(name, _)| name.text == owner.text);
        given.any(|(_, args)| args.iter().filter(|arg| arg.name.is_none()).count() > at)
    }

    /// Without `as name`.
    fn without_name(&self, name: Span) -> Option<Fix> {
        let before = &self.sources.file(name.file).text[..name.range().start];
        let start = before.trim_end().strip_suffix("as")?.trim_end().len();
        Some(Fix::replace("remove it", Span::new(name.file, start..name.range().end), "").maybe())
    }

    /// Without one of the names behind `allow`, or without the item where it is the only one.
    fn without_permission(&self, name: Span) -> Option<Fix> {
        let item = self.places.item(name)?;
        let ItemKind::Allow(names) = &item.kind else { return None };
        let at = names.iter().position(|known| known.span == name)?;
        let span = match (at.checked_sub(1).map(|before| names[before].span), names.get(at + 1)) {
            (Some(before), _) => before.behind().to(name),
            (None, Some(next)) => name.before().to(next.span.before()),
            (None, None) => return self.without_item(name),
        };
        Some(Fix::replace("remove it", span, ""))
    }

    fn projection(&self, body: Span) -> Vec<Option<Fix>> {
        let Some(Projection { project, main, conditional }) = self.places.projection(body) else { return Vec::new() };
        let behind = main.span.behind();
        let remove = Fix::replace("remove it", behind.to(project.body.span), "").maybe();
        let place = behind.to(project.body.span.before());
        let always = Fix::replace("write `project if true`", place, " project if true ").maybe();
        vec![Some(remove), (!conditional).then_some(always)]
    }

    fn output(&self, call: Span) -> Option<Fix> {
        let behind = self.places.call(call)?.step.span.behind();
        Some(Fix::replace("give it with `output NAME`", behind, " | output NAME").with_placeholders())
    }

    /// Without an item or a step: with its lines where nothing else is on them, with the sign that joins it to another.
    fn cut(&self, span: Span) -> Fix {
        let text = &self.sources.file(span.file).text;
        let end = span.range().start + self.sources.slice(span).trim_end().len();
        let (before, behind) = (&text[..span.range().start], &text[end..]);
        let line = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = behind.find('\n').map_or(behind.len(), |newline| newline + 1);
        let (left, right) = (before[line..].trim(), behind[..rest].trim());
        let range = if left.is_empty() && (right.is_empty() || right.starts_with('#')) {
            line..end + rest
        } else if right.starts_with('|') {
            let next = behind.trim_start().trim_start_matches('|').trim_start_matches(' ');
            span.range().start..text.len() - next.len()
        } else {
            left.strip_suffix('|').map_or(span.range().start, |_| before.trim_end().len() - 1)..end
        };
        Fix::replace("remove it", Span::new(span.file, range), "")
    }
}
