-- What Quarto does to Pandoc's document and our pages need: callouts, tables without fixed widths
local names = {note='Note', tip='Tip', warning='Warning', important='Important', caution='Caution'}

local function html(s) return pandoc.RawBlock('html', s) end

local function callout(el, kind, name)
  local body, title = el.content, el.attributes.title
  if not title and body[1] and body[1].t == 'Header' then
    title = pandoc.utils.stringify(body:remove(1).content)
  end
  local fold = el.attributes.collapse
  local tag = fold and 'summary' or 'p'
  local open = '<div class="callout ' .. kind .. '" role="note">'
  if fold then
    open = '<details class="callout ' .. kind .. '"' .. (fold == 'false' and ' open>' or '>')
  end
  body:insert(1, html('<' .. tag .. ' class="callout-title">' .. (title or name) .. '</' .. tag .. '>'))
  body:insert(1, html(open))
  body:insert(html(fold and '</details>' or '</div>'))
  return body
end

function Div(el)
  for kind, name in pairs(names) do
    if el.classes:includes('callout-' .. kind) then return callout(el, kind, name) end
  end
end

function Table(el)
  el.colspecs = el.colspecs:map(function(spec) return {spec[1]} end)
  return el
end

-- A number and its % stay on one line
function Inlines(words)
  for i = 2, #words-1 do
    local number, sign = words[i-1], words[i+1]
    if (words[i].t == 'Space' or words[i].t == 'SoftBreak') and number.t == 'Str' and sign.t == 'Str'
       and number.text:match('%d$') and sign.text:match('^%%') then
      words[i] = pandoc.Str('\u{a0}')
    end
  end
  return words
end
