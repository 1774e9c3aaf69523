// Everything is defined: the page begins.

$("search").addEventListener("input", find);
$("search").addEventListener("keydown", searchPressed);
$("search").addEventListener("focus", find);
$("search").addEventListener("blur", () => openFound(false));
addEventListener("hashchange", follow);
showHeader();
makeTexts();
makeSandbox();
follow();
