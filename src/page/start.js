// Everything is defined: the page begins.

$("search").addEventListener("input", find);
$("search").addEventListener("keydown", searchPressed);
$("search").addEventListener("blur", () => { $("found").hidden = true; });
addEventListener("hashchange", follow);
showHeader();
makeTexts();
makeSandbox();
follow();
